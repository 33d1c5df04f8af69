"""What a newcomer gets wrong first is told in words that lead to the fix."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chains import (
    END,
    START,
    ChainDefinitionError,
    ChainRunError,
    Definition,
    RunInput,
    check,
    function,
    say,
)
from conftest import tiny_engine, write_intrinsic
from flows import chain_of, run
from intrinsics.catalogue import Catalogue

CHAIN = """\
chain: helper
nodes:
  screen: {check: jailbreak}
  refuse: {say: "I stay with my rules."}
  reply: {turn: {max_tokens: 20, temperature: 0.7}}
  sure: {check: certainty}
flow:
  - start -> screen
  - screen -> refuse: {when: screen.value == 'jailbreak'}
  - screen -> reply: otherwise
  - reply -> sure
  - sure -> reply: {until: sure.value >= 0.8, at_most: 3, then: end}
  - refuse -> end
"""


@pytest.mark.parametrize(
    ("right", "wrong", "place", "told"),
    [
        ("== 'jail", "= 'jail", "9:43", "not a condition: invalid syntax; use names, literals, =="),
        ("break'}", "break' && true}", "9:59", "and, or, not, and parentheses"),
        ("'jailbreak'}", "jailbreak}", "9:46", "a label stands in quotes: 'jailbreak'"),
        ("  reply:", "\treply:", "5:1", "indent by spaces, not by tabs"),
        (
            '"I stay with my rules."',
            "My rules: I stay.",
            "4:25",
            "put a text that has ': ' in it in",
        ),
        ('"I stay with my rules."', "Sorry, I can't.", "4:24", "put one that has a comma in it in"),
        (
            "temperature: 0.7",
            "prompt: {{ user }}",
            "5:42",
            "what begins with a brace stands in quotes",
        ),
        (
            "temperature: 0.7",
            "prompt: Well, well well",
            "5:48",
            "put one that has a comma in it in",
        ),
        ("start ->", "START ->", "8:5", "unknown node 'START'; did you mean 'start'?"),
        ("screen.value", "screen", "9:30", "compare 'screen.value'"),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_fix(
    right: str, wrong: str, place: str, told: str
) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(CHAIN.replace(right, wrong))
    assert [one for one in str(caught.value).splitlines() if place in one and told in one]


def test_everything_wrong_is_told_at_once() -> None:
    """A key or value that is wrong in a node hides nothing that is wrong elsewhere."""
    text = CHAIN.replace("max_tokens: 20", "max_token: 20").replace("then: end", "then: ned")
    text = text.replace("temperature: 0.7", "temperature: hot").replace("== 'jailb", "== 'jalib")
    text = text.replace("nodes:", "sistem: Be kind.\nnodes:")
    text = text.replace("certainty}", "certainty, retry: often}")
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(text)
    told = [fault.message for fault in caught.value.faults]
    assert len(told) == 6
    for words in ("'system'?", "'max_tokens'?", "'hot'", "'often'", "'jailbreak'?", "'end'?"):
        assert sum(words in message for message in told) == 1, (words, told)


KINDS = """\
chain: helper
input: {bank: str}
budget: {steps: 100, then: end}
nodes:
  screen: {check: jailbreak}
  each: {map: {over: documents, do: {check: context_relevance}}}
  best: {best_of: {n: 3, turn: {temperature: 1}, judge: {check: certainty}, by: judge.value}}
  call: {function: {call: "m:f", arguments: {x: screen.value}}}
  sub: {subchain: {of: {chain: s, nodes: {a: {say: Hi.}}, flow: [start -> a, a -> end]}}}
  both: {parallel: {join: all, branches: {a: {say: Hi.}, b: {check: certainty}}}}
  sure: {check: certainty}
flow:
  - start -> screen
  - screen -> each
  - each -> call
  - call -> best
  - best -> sure
  - sure -> best: {until: sure.value >= 0.5, at_most: 3, then: sub}
  - sub -> both
  - both -> end
output: "{{ input.bamk }}"
"""


def same(x: str) -> str:
    return x


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("join: all", "jion: all"),
        ("over: documents", "ovr: documents"),
        ("by: judge", "bye: judge"),
        ('call: "m:f"', 'cal: "m:f"'),
        ("{check: jailbreak}\n  each", "{chek: jailbreak}\n  each"),
        ("{check: jailbreak}\n  each", "{check: {jailbreak: often}}\n  each"),
        ("{say: Hi.}}, flow", "{sy: Hi.}}, flow"),
        ("at_most: 3", "at_most: many"),
        ("best -> sure", "best > sure"),
        ("until: sure.value >=", "until: sure.value =>"),
        ("steps: 100", "stps: 100"),
        ("chain: helper\n", ""),
    ],
)
def test_what_is_wrong_in_any_part_hides_nothing_of_the_rest(right: str, wrong: str) -> None:
    def told(text: str) -> set[str]:
        with pytest.raises(ChainDefinitionError) as caught:
            chain_of(text, f=same)
        return {fault.message for fault in caught.value.faults}

    [late] = told(KINDS)
    assert "'bamk'" in late
    both = told(KINDS.replace(right, wrong))
    assert late in both
    extra = both - {late}
    assert extra and not [one for one in extra if "unreachable" in one or "no edge" in one]


def test_an_input_of_no_type_hides_nothing_either() -> None:
    text = KINDS.replace("bank: str", "bank: strr").replace("input.bamk", "input.bank")
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(text.replace("check: certainty}\nflow", "check: certanty}\nflow"), f=same)
    told = [fault.message for fault in caught.value.faults]
    assert len(told) == 2 and "'list[str]'" in told[0] and "certainty'?" in told[1]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("{turn: {max_tokens: 20,", "{turn: {promt: hello,"),
        ('{say: "I stay', "{parallel: {jion: any, branches: {a: {say: Hi.}, b: {say: Ho.}}}}  # "),
        ("nodes:", "inputs: {bank: str}\nnodes:"),
        ("{turn: {max_tokens: 20,", "{turn: {when: sure.value, max_tokens: 20,"),
        ('{say: "I stay', "{say: Well, Bob}  # "),
    ],
)
def test_nothing_that_follows_from_a_wrong_key_is_told(right: str, wrong: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(CHAIN.replace(right, wrong))
    assert len(caught.value.faults) == 1


def test_an_unbounded_loop_is_told_without_what_follows_from_it() -> None:
    wrong = CHAIN.replace(
        "{until: sure.value >= 0.8, at_most: 3, then: end}", "{when: sure.value < 1}"
    )
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(wrong + "  - sure -> end: otherwise\n")
    [fault] = caught.value.faults
    assert fault.message.startswith("unbounded loop through reply -> sure; add at_most and then")


@pytest.mark.parametrize("missing", [", then: end", "at_most: 3, "])
def test_a_loop_that_lacks_a_key_is_told_without_what_follows_from_it(missing: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(CHAIN.replace(missing, ""))
    [fault] = caught.value.faults
    assert "needs" in fault.message and fault.line == 12


def test_a_node_that_no_edge_leaves_is_sent_to_one_that_no_edge_leads_to() -> None:
    with pytest.raises(ChainDefinitionError, match="add 'reply -> sure'"):
        chain_of(CHAIN.replace("  - reply -> sure\n", ""))


def no_condition() -> None:
    check("safety").when("unsafe")  # type: ignore[arg-type]


def no_data() -> None:
    check("safety").until(lambda state: True)  # type: ignore[arg-type]


def no_name() -> None:
    function(lambda: 1)


def no_list() -> None:
    class Flat(Definition):
        hello = say("Hello.")
        flow = START >> hello >> END  # type: ignore[assignment]

    Flat.chain()


def no_flow() -> None:
    class Empty(Definition):
        hello = say("Hello.")

    Empty.chain()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (no_condition, r"this is a str; compare what a node leaves, such as screen.value == "),
        (no_data, "a condition is data, and this is a function"),
        (no_name, "is no module-level function; a chain calls it by its name"),
        (no_list, r"flow is a list of paths; put this one in \[...\]"),
        (no_flow, "the flow of Empty is empty; begin it with START"),
    ],
)
def test_a_mistake_in_python_is_told_with_its_place(mistake: Callable[[], None], told: str) -> None:
    with pytest.raises(ChainDefinitionError, match=rf"test_first_mistakes.*:\d+:\d+: .*{told}"):
        mistake()


class Item(BaseModel):
    count: int


def make() -> list[Item]:
    return [Item(count=2), Item(count=3)]


def total(items: list[Item]) -> int:
    return sum(item.count for item in items)


def parse() -> list[dict[str, Any]]:
    return [{"count": "many"}]


SUM = """\
chain: sum
nodes:
  made: {{function: "m:{made}"}}
  summed: {{function: {{call: "m:total", arguments: {{items: made.value}}}}}}
flow: [start -> made, made -> summed, summed -> end]
output: "{{{{ summed.value }}}}"
"""


def test_a_function_that_takes_models_gets_models() -> None:
    chain = chain_of(SUM.format(made="make"), make=make, total=total)
    assert run(chain, given=RunInput()).output == "5"


def test_what_is_no_such_model_is_told() -> None:
    chain = chain_of(SUM.format(made="parse"), parse=parse, total=total)
    with pytest.raises(ChainRunError, match=r"node 'summed': m:total can't take .* for 'items': "):
        run(chain, given=RunInput())


@pytest.mark.parametrize(
    ("node", "place", "message"),
    [
        ("{turn: {system: Be kind.}}", "3:14", "'system' belongs to the chain: write it at the to"),
        ("{check: safety, until: x}", "3:22", "'until' belongs to an edge: write '- a -> ...: {un"),
        ("{check: {safety: yes}}", "3:15", "the arguments of 'safety' map names to texts; without"),
    ],
)
def test_a_key_that_belongs_elsewhere_is_sent_there(node: str, place: str, message: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(f"chain: c\nnodes:\n  a: {node}\nflow: [start -> a, a -> end]\n")
    assert str(caught.value).startswith(f"chain.yaml:{place}: {message}")


def test_an_intrinsic_may_be_named_like_a_key(tmp_path: Path) -> None:
    directory = write_intrinsic(tiny_engine(), tmp_path, "output")
    assert directory.is_dir()
    text = "chain: c\nnodes: {a: {check: {output: {}}}}\nflow: [start -> a, a -> end]\n"
    chain = chain_of(text, Catalogue([tmp_path]))
    assert chain_of(chain.to_yaml(), Catalogue([tmp_path])) == chain


def test_a_part_that_python_does_not_have_is_told_how_to_read() -> None:
    node = check("safety", "certainty")
    with pytest.raises(AttributeError, match=r"write \['safety'\], as in node\['safety'\].value"):
        attrgetter("safety")(node)
    with pytest.raises(AttributeError, match=r"`.again\(node, at_most=3, then=other\)` leads back"):
        attrgetter("at_most")(node.until(node["safety"].value == "safe"))
