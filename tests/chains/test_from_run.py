"""A recorded run becomes a test case that needs no model and passes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chains import Chain, ChainRunError, RunInput
from chains.cli import main
from chains.errors import InputError
from chains.recorder import recorded, resumed
from chains.runner import Run
from chains.store import Store
from chains.testing import Script
from chains.testing.cases import Cases
from chains.testing.from_record import add, case_of
from flows import HELLO, chain_of
from intrinsics.engine import Engine
from traced import GIVEN, YAML, traced_engine
from traced import chain_of as traced_chain


def begin(store: Store, chain: Chain, engine: Any = None, given: RunInput = HELLO) -> str:
    async def go() -> None:
        async for _ in Run(chain, engine, recorder.given, recorder=recorder).events():
            pass

    with recorded(store, chain, given) as recorder:
        with suppress(ChainRunError):
            asyncio.run(go())
        return recorder.run_id


def go_on(store: Store, run_id: str, chain: Chain) -> None:
    async def go() -> None:
        async for _ in Run(chain, None, recorder.given, recorder=recorder).events():
            pass

    with resumed(store, run_id, chain) as recorder:
        asyncio.run(go())


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "runs.db") as store:
        yield store


def test_a_run_on_the_model_is_played_again_without_it(tmp_path: Path, store: Store) -> None:
    engine: Engine = traced_engine(tmp_path / "intrinsics")
    chain = traced_chain(YAML, engine)
    run_id = begin(store, chain, engine, GIVEN)
    case = case_of(store, run_id, chain)
    assert case.given.verdicts is not None and set(case.given.verdicts) == {
        *("tone", "topic", "quality")
    }
    assert case.given.turns is not None and len(case.given.turns) == 3
    assert case.expect.path is not None and case.expect.path.count("reply") == 3
    (tmp_path / "traced.yaml").write_text(YAML)
    add(case, "told", tmp_path / "traced.test.yaml", tmp_path / "traced.yaml")
    cases = Cases.load(tmp_path / "traced.yaml", engine.catalogue)
    assert cases.cases == {"told": case} and cases.run("told").faults == ()
    with pytest.raises(InputError, match=r"its cases are of .*traced\.yaml, but the run is one of"):
        add(case, "more", tmp_path / "traced.test.yaml", tmp_path / "other.yaml")


GUARDED = """\
chain: guarded
input: {n: {type: int, default: 2}}
nodes:
  first:
    turn:
      guards: [{at: input, check: safety, label: unsafe, then: replace, text: "No."}]
  best: {best_of: {n: 3, turn: {prompt: Go on., temperature: 1}, judge: {check: certainty}}}
  each: {map: {over: documents, do: {check: context_relevance}}}
  both: {parallel: {branches: {b: {check: certainty}, a: {turn: {prompt: More.}}}}}
flow: [start -> each, each -> first, first -> best, best -> both, both -> end]
output: "{{ first.text }} {{ best.text }} {{ both.a.text }} {{ each.count }}"
"""


def test_guards_candidates_items_and_branches_are_told_in_their_order(store: Store) -> None:
    chain = chain_of(GUARDED)
    given = RunInput.of(
        {
            "messages": [{"role": "user", "content": "Hello"}],
            "documents": [{"id": "a", "text": "A."}, {"id": "b", "text": "B."}],
            "inputs": {"n": 3},
        },
        "x",
    )
    relevance: list[Any] = [{"relevant": 0.9, "irrelevant": 0.1}, "irrelevant"]
    verdicts: dict[str, Any] = {"safety": "unsafe", "certainty": [0.1, 0.8, 0.3, 0.6]}
    turns = ["Never seen.", "One.", "Two.", "Three.", "Last."]
    script = Script(turns, {**verdicts, "context_relevance": relevance})
    run_id = begin(store, chain, script, given)
    case = case_of(store, run_id, chain)
    assert case.given.turns == ("(given up)", "One.", "Two.", "Three.", "Last.")
    assert case.given.inputs == {"n": 3} and len(case.given.documents) == 2
    assert case.expect.output == "No. Two. Last. 2"
    assert case.given.verdicts is not None
    assert case.given.verdicts["context_relevance"][0] == {"relevant": 0.9, "irrelevant": 0.1}


def test_answers_failures_and_stops_are_kept(store: Store) -> None:
    text = """\
chain: asking
budget: {steps: 3}
nodes: {who: {ask: "Who?"}, why: {ask: "Why, {{ who.text }}?"}, f: {function: "m:f"}}
flow: [start -> who, who -> why, why -> f, f -> why: {at_most: 5, then: end}]
"""

    def f() -> int:
        return 1

    chain = chain_of(text, f=f)
    run_id = begin(store, chain)
    with pytest.raises(InputError, match="has not ended"):
        case_of(store, store.fork(run_id, 0), chain)
    with pytest.raises(InputError, match="has not ended; resume it first"):
        case_of(store, run_id, chain)
    for answer in ("Ada", "so"):
        store.answer(run_id, answer)
        go_on(store, run_id, chain)
    case = case_of(store, run_id, chain)
    assert case.given.answers == ("Ada", "so") and case.given.turns is None
    assert case.expect.status == "stopped" and case.expect.path == ("who", "why", "f")

    def broken() -> int:
        raise OSError("no disk")

    failing = chain_of(
        "chain: f\nnodes: {f: {function: 'm:f'}}\nflow: [start -> f, f -> end]", f=broken
    )
    case = case_of(store, begin(store, failing), failing)
    assert case.expect.fails is not None and "no disk" in case.expect.fails


def test_what_the_record_does_not_hold_is_told(store: Store) -> None:
    text = """\
chain: again
nodes:
  reply:
    turn:
      guards: [{at: reply, check: certainty, label: incorrect, above: 0.7, then: again}]
      temperature: 1
flow: [start -> reply, reply -> end]
"""
    chain = chain_of(text)
    run_id = begin(store, chain, Script(["One.", "Two."], {"certainty": [0.1, 0.9]}))
    with pytest.raises(InputError, match="can't be told as a test, since played again it is ano"):
        case_of(store, run_id, chain)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments])
        shown = capsys.readouterr()
        return int(str(caught.value.code)), shown.out, shown.err

    return call


def test_the_command_adds_a_case_that_passes(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "fine.yaml").write_text(
        'chain: fine\nnodes: {a: {say: "Hi, {{ user }}."}}\nflow: [start -> a, a -> end]\n'
    )
    record = ("--record", "all.db")
    runs = []
    for name in ("Ada", "Bob"):
        code, out, err = command("run", "fine.yaml", "-m", name, "--json", *record)
        assert code == 0, err
        runs.append(out.split('"run_id": "')[1].split('"')[0])
    first, second = runs
    to = ("-o", "fine.test.yaml")
    code, out, err = command("test", "--from-run", first, *record, *to)
    assert (code, err) == (0, "") and f"passed  {first}" in out
    file = tmp_path / "fine.test.yaml"
    file.write_text("# kept\n" + file.read_text().replace(first, "greets"))
    code, out, _ = command("test", "--from-run", second, *record, *to)
    assert code == 0 and "passed  greets" in out and f"passed  {second}" in out
    assert file.read_text().startswith("# kept\ncases:")
    code, out, _ = command("test", "fine.yaml")
    assert code == 0 and out.count("passed") == 2
    code, out, err = command("test", "--from-run", first, *record, "-o", "other.test.yaml")
    assert code == 0, err
    assert (tmp_path / "other.test.yaml").read_text().startswith("chain: fine.yaml\ncases:")
    code, _, err = command("test", "--from-run", second, *record, *to)
    assert code == 2 and f"it has a case '{second}' already" in err
    code, _, err = command("test", "--from-run", second, *record, "-o", "fine.yaml")
    assert code == 2 and "ends in .test.yaml" in err
    code, _, err = command("test", "--from-run", second, *record)
    assert code == 2 and "give --record and -o" in err
    code, _, err = command("test")
    assert code == 2 and "name a chain or its file of cases" in err
    file.write_text("cases: [")
    code, _, err = command("test", "--from-run", second, *record, *to)
    assert code == 2 and "fine.test.yaml:" in err
    (tmp_path / "fine.yaml").write_text((tmp_path / "fine.yaml").read_text().replace("Hi", "Ho"))
    code, _, err = command("test", "--from-run", second, *record, "-o", "new.test.yaml")
    assert code == 2 and "its chain has changed since" in err


def test_a_case_is_written_nowhere_else(store: Store, tmp_path: Path) -> None:
    chain = chain_of("chain: a\nnodes: {b: {say: Hi.}}\nflow: [start -> b, b -> end]\n")
    case = case_of(store, begin(store, chain), chain)
    with pytest.raises(InputError, match="must be a mapping with 'cases:'"):
        (tmp_path / "a.test.yaml").write_text("- 1\n")
        add(case, "x", tmp_path / "a.test.yaml", None)
