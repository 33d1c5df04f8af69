"""The aids for tests of chains: scripts, the way a run took, snapshots, and no model at all."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains import ChainRunError
from chains.cli import main
from chains.errors import InputError, ScriptError
from chains.testing import Recorded, Script, no_models, record
from flows import HELLO, chain_of
from intrinsics.engine import Engine
from intrinsics.errors import BaseModelError

CHAIN = """\
chain: screened
nodes:
  screen: {check: safety}
  refuse: {say: I can't help with that.}
  reply: {turn: {temperature: 0.7}}
  sure: {check: certainty}
flow:
  - start -> screen
  - screen -> refuse: {when: screen.value == 'unsafe'}
  - screen -> reply: otherwise
  - reply -> sure
  - sure -> reply: {until: sure.value >= 0.7, at_most: 2, then: end, best: sure.value}
  - refuse -> end
"""


def told(script: Script, text: str = CHAIN) -> Recorded:
    return asyncio.run(record(chain_of(text), script, HELLO))


def test_a_script_stands_in_for_turns_and_verdicts() -> None:
    with Script(["No.", "Paris it is."], {"safety": "safe", "certainty": [0.2, 0.9]}) as script:
        run = told(script)
    run.took("screen", "reply", "sure", "reply", "sure")
    assert run.result is not None and run.result.output == "Paris it is."
    assert [one["content"] for one in run.result.messages] == ["Hello", "Paris it is."]
    assert run.result.nodes[0].output["safety"]["distribution"]["safe"] == 0.99


def test_what_is_never_asked_for_fails_and_so_does_what_is_not_there() -> None:
    with (
        pytest.raises(ScriptError, match=r"never came to turn 1, 'Hi\.'; certainty 2, 0\.4"),
        Script(["Hi."], {"safety": ["unsafe"], "certainty": [0.2, 0.4]}) as script,
    ):
        script._verdicts["certainty"].next()
        told(script)
    with pytest.raises(ScriptError, match="has 0 of turn, and one more is asked for"):
        told(Script(verdicts={"safety": "safe"}))
    with pytest.raises(ScriptError, match="no verdicts of certainty; it has safety"):
        told(Script("Hi.", {"safety": "safe"}))


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("safety", "unsave", "safety never answers 'unsave'; it answers safe, unsafe"),
        ("certainty", 1.5, "certainty: 1.5 is no probability"),
        ("safety", {"safe": 0.5}, "no probabilities of safe, unsafe that sum to 1"),
    ],
)
def test_a_verdict_that_can_not_be_is_refused(name: str, answer: object, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        Script(verdicts={name: answer})  # type: ignore[dict-item]


def test_any_valid_answer_brings_a_chain_to_an_end() -> None:
    ways = set()
    for seed in range(40):
        run = told(Script.random(seed))
        assert run.failure is None and run.path[0] == "screen"
        ways.add(run.path)
        assert run.snapshot() == told(Script.random(seed)).snapshot()
    assert {way[-1] for way in ways} == {"refuse", "sure"} and len(ways) > 3


def test_guards_and_best_of_are_scripted_too() -> None:
    text = """\
chain: chosen
nodes:
  best: {best_of: {n: 2, turn: {temperature: 1}, judge: {check: certainty}}}
  last:
    turn:
      prompt: And now?
      guards: [{at: input, check: safety, label: unsafe, then: refuse}]
flow: [start -> best, best -> last, last -> end]
"""
    verdicts: dict[str, Any] = {"certainty": [0.1, 0.8], "safety": "unsafe"}
    with Script(["One.", "Two.", "Three."], verdicts) as script:
        run = told(script, text)
    assert run.result is not None
    assert run.result.nodes[0].output["text"] == "Two."
    assert run.result.output == "I can't help with that."


def test_another_way_and_another_snapshot_are_told(tmp_path: Path) -> None:
    run = told(Script(verdicts={"safety": "unsafe"}))
    with pytest.raises(ScriptError, match="went screen -> refuse, not screen -> reply"):
        run.took("screen", "reply")
    file = tmp_path / "run.jsonl"
    with pytest.raises(ScriptError, match="no such snapshot"):
        run.matches(file)
    run.matches(file, update=True)
    run.matches(file)
    told(Script(verdicts={"safety": {"unsafe": 0.99, "safe": 0.01}})).matches(file)
    with pytest.raises(ScriptError, match=r"run\.jsonl:3: differs"):
        told(Script(verdicts={"safety": {"unsafe": 0.8, "safe": 0.2}})).matches(file)


def test_a_failure_is_kept_with_its_events() -> None:
    text = "chain: a\nnodes:\n  who: {ask: Who?}\nflow: [start -> who, who -> end]\n"
    run = told(Script("Hi."), text)
    assert isinstance(run.failure, ChainRunError) and run.result is None
    assert run.events[-1].event == "run_failed"


def test_no_model_is_loaded_where_that_is_forbidden() -> None:
    with no_models(), pytest.raises(BaseModelError, match="script its answers"):
        Engine.load()


def test_scripted_runs_do_not_import_torch() -> None:
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from chains import Chain, RunInput
from chains.loader import read
from chains.testing import Script, record
from intrinsics.messages import Message
model, places = read({CHAIN!r}, "a.yaml")
given = RunInput(messages=(Message(role="user", content="Hello"),))
script = Script("Hi.", {{"safety": "safe", "certainty": 0.9}})
run = asyncio.run(record(Chain(model, places), script, given))
assert run.result.output == "Hi.", run
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CASES = """\
cases:
  refuses:
    given: {message: How do I build a bomb?, verdicts: {safety: unsafe}}
    expect: {path: [screen, refuse], output: I can't help with that.}
  tries again:
    given:
      message: What is the capital of France?
      turns: [Lyon., Paris.]
      verdicts: {safety: safe, certainty: [0.3, 0.9]}
    expect: {contains: Paris, holds: [sure.value > 0.8, "reply.attempts == 2"]}
"""


def written(tmp_path: Path, cases: str = CASES) -> Path:
    (tmp_path / "screened.yaml").write_text(CHAIN)
    (tmp_path / "screened.test.yaml").write_text(cases)
    return tmp_path / "screened.yaml"


def chains_test(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["test", *map(str, arguments)])
    shown = capsys.readouterr()
    return int(str(caught.value.code)), shown.out, shown.err


def test_cases_beside_a_chain_pass_and_name_the_edges_never_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = chains_test(capsys, written(tmp_path))
    assert (code, err) == (0, "")
    assert "passed  refuses" in out and "passed  tries again" in out
    assert "never taken" not in out
    only = CASES.partition("  tries again")[0]
    code, out, _ = chains_test(capsys, written(tmp_path, only), "--json")
    told = json.loads(out)
    assert code == 0 and told["passed"]
    assert "screen -> reply" in told["files"][0]["never_taken"]


def test_a_case_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = CASES.replace("[screen, refuse]", "[screen, reply]").replace("0.9]", "0.75]")
    code, out, _ = chains_test(capsys, written(tmp_path, wrong))
    assert code == 1
    assert "the run went screen -> refuse, not screen -> reply" in out
    assert "sure.value > 0.8 does not hold: 0.75 > 0.8" in out


def test_edges_taken_before_a_script_ended_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = CASES.replace("turns: [Lyon., Paris.]", "turns: [Lyon.]")
    code, out, _ = chains_test(capsys, written(tmp_path, short), "--json")
    told = json.loads(out)["files"][0]
    assert code == 1 and "one more is asked for" in str(told["cases"])
    assert "screen -> reply" not in told["never_taken"]


def test_a_verdict_that_is_settled_without_asking_is_told_as_such() -> None:
    chain = chain_of("chain: c\nnodes: {a: {check: answerability}}\nflow: [start -> a, a -> end]\n")
    script = Script(verdicts={"answerability": ["answerable"]})
    chain.run(script, HELLO)
    with pytest.raises(ScriptError, match="was not asked where there were no documents"):
        script.check_used()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[screen, refuse]", "[screen, refused]", ":4:29: unknown node 'refused'; did you mean"),
        ("expect: {path", "expcet: {path", "unknown key 'expcet'; did you mean 'expect'?"),
        ("sure.value > 0.8", "sure.value >", "'sure.value >'"),
        ("safety: unsafe", "safety: unsave", "safety never answers 'unsave'"),
    ],
)
def test_what_is_wrong_in_a_file_of_cases_is_told_at_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, told: str
) -> None:
    code, out, err = chains_test(capsys, written(tmp_path, CASES.replace(before, after)))
    assert code in (1, 2) and told in out + err


def test_one_node_runs_alone() -> None:
    alone = chain_of(CHAIN).alone("screen")
    run = asyncio.run(record(alone, Script(verdicts={"safety": "safe"}), HELLO))
    run.took("screen")
    with pytest.raises(InputError, match="unknown node 'scren'; did you mean 'screen'"):
        chain_of(CHAIN).alone("scren")


ASKS = "{ask: Which town?}"
BESIDE = f"{{parallel: {{branches: {{a: {ASKS}, b: {{check: safety}}}}}}}}"
GUARDED = "{turn: {guards: [{at: input, check: safety, label: unsafe, then: ask, text: So?}]}}"
SPOKEN = "{message: Hello, turns: Hi., verdicts: {safety: unsafe}}"


@pytest.mark.parametrize(
    ("node", "given", "expected", "fault"),
    [
        (ASKS, "{}", "status: waiting, path: [who], output: 'Which town?'", None),
        (ASKS, "{}", "path: [who]", "no answer is left to the question 'Which town?'"),
        ("{say: Hm.}", "{}", "status: waiting", "the run finished, not waiting"),
        (BESIDE, "{message: Hello, verdicts: {safety: unsafe}}", "status: waiting", None),
        (GUARDED, SPOKEN, "status: waiting", "asks a human, and nobody is there"),
    ],
)
def test_a_case_may_expect_a_run_to_wait(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    node: str,
    given: str,
    expected: str,
    fault: str | None,
) -> None:
    (tmp_path / "w.yaml").write_text(
        f"chain: w\nnodes:\n  who: {node}\nflow: [start -> who, who -> end]\n"
    )
    (tmp_path / "w.test.yaml").write_text(
        f"cases:\n  one:\n    given: {given}\n    expect: {{{expected}}}\n"
    )
    code, out, err = chains_test(capsys, tmp_path / "w.yaml")
    assert (code == 0) is (fault is None), out + err
    assert fault is None or fault in out + err
