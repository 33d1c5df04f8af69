"""Replays and forks: the past is shared and not run again, edits are typed, and the way goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chains import Chain, InputError, RunInput
from chains.cli import main
from chains.errors import ChainChanged, ChainDefinitionError
from chains.recorder import Recorder, recorded, resumed, source_of
from chains.replay import replayed
from chains.runner import Run, RunResult
from chains.runner import run as run_chain
from chains.store import Store
from conftest import check_integrity, tiny_engine, write_intrinsic
from flows import HELLO, chain_of
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine

BOOKING = """\
chain: booking
input: {nights: int}
nodes:
  found: {function: "m:found"}
  hello: {say: "{{ found.value }} rooms."}
  total: {function: {call: "m:total", arguments: {nights: input.nights, rooms: found.value}}}
  dear: {say: "{{ total.value }} EUR, dear."}
  fine: {say: "{{ total.value }} EUR. {{ messages | length }} {{ hello.text }}"}
flow:
  - start -> found
  - found -> hello
  - hello -> total
  - total -> dear: {when: total.value > 500}
  - total -> fine: otherwise
  - dear -> end
  - fine -> end
"""
WEEK = RunInput(inputs={"nights": 7})


def booking(calls: list[str], text: str = BOOKING) -> Chain:
    def found() -> int:
        calls.append("found")
        return 2

    def total(nights: int, rooms: int) -> int:
        calls.append("total")
        return nights * rooms * 30

    return chain_of(text, found=found, total=total)


def play(recorder: Recorder, engine: Engine | None = None) -> RunResult:
    async def go() -> RunResult:
        return await run_chain(recorder.chain, engine, recorder.given, recorder=recorder)

    return asyncio.run(go())


def again(
    store: Store, run_id: str, chain: Chain, node: str, engine: Engine | None = None, **edits: Any
) -> tuple[str, RunResult]:
    with replayed(store, run_id, chain, node, **edits) as recorder:
        return recorder.run_id, play(recorder, engine)


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "runs.db") as store:
        yield store
        assert store.check() == []


@pytest.fixture
def first(store: Store, calls: list[str]) -> str:
    with recorded(store, booking(calls), WEEK) as recorder:
        assert play(recorder).output == "420 EUR. 1 2 rooms."
    calls.clear()
    return recorder.run_id


def test_a_replay_calls_nothing_before_its_node_again(
    store: Store, first: str, calls: list[str]
) -> None:
    run_id, result = again(store, first, booking(calls), "total")
    assert calls == ["total"] and result.output == "420 EUR. 1 2 rooms."
    info = store.run(run_id)
    assert (info.parent, info.forked_at, info.status) == (first, 3, "finished")
    own = store.records(run_id)[3:]
    assert [(one.kind, one.node) for one in own] == [
        *(("replayed", "total"), ("node", "total"), ("node", "fine"), ("finished", ""))
    ]
    assert store.definition(run_id) == store.definition(first)


def test_values_are_set_as_the_node_begins(store: Store, first: str, calls: list[str]) -> None:
    chain = booking(calls)
    _, result = again(store, first, chain, "total", values={"found": 3, "input.nights": 9})
    assert calls == ["total"] and result.output == "810 EUR, dear."
    _, result = again(store, first, chain, "fine", values={"total": 1, "hello": "Good day."})
    assert calls == ["total"] and result.output == "1 EUR. 1 Good day."
    assert [one["content"] for one in result.messages] == ["Good day.", result.output]


def test_a_killed_replay_goes_on_with_its_edits(store: Store, first: str, calls: list[str]) -> None:
    chain = booking(calls)
    edits: dict[str, Any] = {"hello": "Good day.", "found": 1}
    with replayed(store, first, chain, "total", values=edits) as recorder:
        pass
    assert store.run(recorder.run_id).status == "running"
    with resumed(store, recorder.run_id, chain) as later:
        result = play(later)
    with resumed(store, recorder.run_id, chain) as later:  # all is recalled, edits included
        assert play(later).messages == result.messages
    assert calls == ["total"]
    assert [one["content"] for one in result.messages] == ["Good day.", "210 EUR. 1 Good day."]
    fork = store.fork(recorder.run_id, len(store.records(recorder.run_id)) - 1)
    with resumed(store, fork, chain) as later:
        assert play(later).output == result.output
    assert calls == ["total"]


@pytest.mark.parametrize(
    ("node", "values", "message"),
    [
        ("totl", {}, "unknown node 'totl'; did you mean 'total'"),
        ("dear", {}, "never came to 'dear'; it went found -> hello -> total -> fine"),
        (
            "total",
            {"found": "many"},
            'found: m:found never returns "many": Input should be a valid',
        ),
        ("total", {"found.value": 3}, "found is a function node; set it as a whole: found="),
        ("total", {"input.nights": 1.5}, "nights must be int; it is 1.5"),
        ("total", {"input.night": 1}, "unknown input 'night'; did you mean 'nights'"),
        ("total", {"hello": 3}, "what hello said is a text that is not empty, not 3"),
        ("total", {"fine": "x"}, "fine has left nothing by then"),
        ("total", {"hallo": "x"}, "unknown node 'hallo'; did you mean 'hello'"),
    ],
)
def test_what_can_not_be_replayed_is_told_and_makes_no_run(
    store: Store, first: str, calls: list[str], node: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        again(store, first, booking(calls), node, values=values)
    assert [one.run_id for one in store.runs()] == [first] and calls == []


def test_a_changed_chain_is_refused_or_forced(store: Store, first: str, calls: list[str]) -> None:
    other = booking(calls, BOOKING.replace("EUR, dear", "EUR!").replace("> 500", "> 400"))
    with pytest.raises(ChainChanged, match=r"(?s)\+.*> 400"):
        again(store, first, other, "total")
    run_id, result = again(store, first, other, "total", force=True)
    assert result.output == "420 EUR!."
    assert store.definition(run_id).chain_yaml == other.to_yaml()


def test_an_answer_in_a_shared_past_is_not_asked_for_again(store: Store) -> None:
    text = """\
chain: asking
nodes: {which: {ask: "Which?"}, last: {say: "{{ which.text }}"}}
flow: [start -> which, which -> last, last -> end]
"""
    chain = chain_of(text)
    with recorded(store, chain, HELLO) as recorder:
        assert play(recorder).status == "waiting"
    run_id = recorder.run_id
    early = store.fork(run_id)
    store.answer(run_id, "river")
    with resumed(store, run_id, chain) as later:
        assert play(later).output == "river"
    assert store.run(early).status == "waiting"  # it lies before the answer
    kinds = [one.kind for one in store.records(run_id)]
    fork = store.fork(run_id, kinds.index("answered") + 1)
    with resumed(store, fork, chain) as later:
        assert play(later).output == "river"
    _, result = again(store, run_id, chain, "last", values={"which": "lake"})
    assert result.output == "lake"
    assert [one["content"] for one in result.messages] == ["Hello", "Which?", "lake", "lake"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "tone", ("rude", "kind"), seed=1)
    write_intrinsic(engine, folder, "topic", ("work", "play"), seed=2)
    engine.catalogue = Catalogue([folder])
    return engine


JUDGED = """\
chain: judged
nodes:
  tone: {check: tone}
  topic: {check: topic}
  reply: {turn: {prompt: Go on., max_tokens: 4, temperature: 1.0}}
  last: {turn: {prompt: And then?, max_tokens: 4}}
flow: [start -> tone, tone -> topic, topic -> reply, reply -> last, last -> end]
output: "{{ tone.value }} {{ topic.value }} {{ last.text }}"
"""


def test_a_replay_on_the_model_keeps_tokens_judges_again_and_takes_prompts(
    engine: Engine, store: Store
) -> None:
    chain = chain_of(JUDGED, engine.catalogue)
    with recorded(store, chain, HELLO) as recorder:
        plain = play(recorder, engine)
    first = recorder.run_id
    # topic rode in the fan-out of tone: replayed from there, it is judged again
    run_id, result = again(store, first, chain, "topic", engine)
    assert result.messages == plain.messages and result.output == plain.output
    assert [one.kind for one in store.records(run_id)] == [
        *("started", "node", "replayed", "node", "node", "node", "finished")
    ]
    assert store.records(run_id)[3].payload["ledger"]["forwards"] > 0
    values = {"tone": {"rude": 0.9, "kind": 0.1}, "topic": "play", "reply": "Once more."}
    prompts = {"last": "Why?"}
    edited = {"values": values, "prompts": prompts}
    run_id, result = again(store, first, chain, "last", engine, **edited)
    assert result.output.startswith("rude play ")
    assert [one["content"] for one in result.messages[:-1]] == [
        "Hello",
        "Go on.",
        "Once more.",
        "Why?",
    ]
    assert "prompt: Why?" in store.definition(run_id).chain_yaml
    said = RunInput.of({"messages": list(result.messages[:-1])}, "x")
    alone = chain_of("chain: a\nnodes: {b: {turn: {max_tokens: 4}}}\nflow: [start -> b, b -> end]")
    assert alone.run(engine, said).messages == result.messages  # the edited tokens were read
    check_integrity(engine)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"values": {"tone": "kid"}}, "tone never answers 'kid'; it answers rude, kind"),
        ({"values": {"tone.tune": "kind"}}, "unknown intrinsic 'tune'; did you mean 'tone'"),
        ({"values": {"tone": {"rude": 2, "kind": 0}}}, "no probabilities of rude, kind"),
        ({"prompts": {"tone": "x"}}, "tone is a check node, which has no prompt"),
        ({"prompts": {"reply": " "}}, "the prompt of reply is empty"),
        ({"prompts": {"rely": "x"}}, "unknown node 'rely'; did you mean 'reply'"),
        ({"prompts": {"reply": "{{ usr }}"}}, "usr"),
    ],
)
def test_wrong_verdicts_and_prompts_are_told(
    engine: Engine, store: Store, edits: dict[str, Any], message: str
) -> None:
    chain = chain_of(JUDGED, engine.catalogue)
    with recorded(store, chain, HELLO) as recorder:
        play(recorder, engine)
    with pytest.raises((InputError, ChainDefinitionError), match=message):
        again(store, recorder.run_id, chain, "reply", engine, **edits)


MODULE = """\
def found() -> int:
    with open("calls.txt", "a") as file:
        file.write("called\\n")
    return 2


def total(nights: int, rooms: int) -> int:
    return nights * rooms * 30
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "booking_calls.py").write_text(MODULE)
    (tmp_path / "booking.yaml").write_text(BOOKING.replace("m:", "booking_calls:"))
    (tmp_path / "week.json").write_text('{"inputs": {"nights": 7}}')

    def call(*arguments: str, code: int = 0) -> tuple[Any, str]:
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--record", "all.db"])
        shown = capsys.readouterr()
        assert caught.value.code == code, shown.err
        told = json.loads(shown.out) if "--json" in arguments and not code else shown.out
        return told, shown.err

    return call


CALLS = ("--functions", "booking_calls", "--json")


def test_the_commands_replay_and_fork(command: Any, tmp_path: Path) -> None:
    told, _ = command("run", "booking.yaml", "--input", "week.json", *CALLS)
    run = told["run_id"]
    edits = ("--set", "found=9", "--set", 'hello="Nine."')
    replay, err = command("replay", run, "--from", "total", *edits, *CALLS)
    assert replay["output"] == "1890 EUR, dear." and replay["run_id"] in err
    assert (tmp_path / "calls.txt").read_text() == "called\n"
    fork, _ = command("fork", run, "--at", "2", "--json")
    assert (fork["parent"], fork["forked_at"], fork["status"]) == (run, 2, "running")
    other, _ = command("resume", fork["run_id"], *CALLS)
    assert other["output"] == told["output"]
    assert (tmp_path / "calls.txt").read_text() == "called\n"
    same, _ = command("diff", run, fork["run_id"], "--json")
    assert same == {"differs": False}
    _, err = command("replay", run, "--from", "total", "--set", "hello=Nine", *CALLS, code=2)
    assert "'Nine' is not JSON" in err and """hello='"Nine"'""" in err
    _, err = command("replay", run, "--from", "total", "--prompt", "Nine", *CALLS, code=2)
    assert "'Nine' is not NODE=TEXT" in err
    _, err = command("fork", run, "--at", "99", code=2)
    assert "has records 1 to 6; it can't be forked after 99" in err


def test_an_edited_prompt_is_resumed_as_it_was(
    engine: Engine, store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "judged.yaml"
    file.write_text(JUDGED)
    chain = Chain.load(file, catalogue=engine.catalogue)

    with recorded(store, chain, HELLO) as recorder:
        recorder.begin(Run(chain, engine, HELLO).frame, engine, str(file))
        play(recorder, engine)
    first = recorder.run_id
    plain, _ = again(store, first, chain, "last", engine)
    asked, _ = again(store, first, chain, "last", engine, prompts={"last": "Why?"})
    assert source_of(store, first) == source_of(store, plain) == str(file)
    assert source_of(store, asked) is None  # its chain is in no file
    assert source_of(store, store.fork(asked, 2)) is None
