"""The store of runs: what is written is read, shared where it is the same, and never half there."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chains.store as package
from chains.errors import (
    AlreadyAnswered,
    NotStorable,
    RunIsHeld,
    StoreRequestError,
    UnknownRun,
)
from chains.store import ROOT, Entry, HeldRun, Store, StoredMessage, chain_hash
from chains.store.messages import pack_ids, unpack_ids
from chains.store.values import Blobs, pack, unpack

SOURCES = sorted(Path(str(package.__file__)).parent.glob("*.py"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.integers(200, 400).map(lambda n: "long " * n),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "$blob", "$$blob", "$", "b.c"]) | TEXT, inner)
    ),
    max_leaves=12,
)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "runs.db") as opened:
        yield opened
        assert opened.check() == []


def new(store: Store, *entries: Entry) -> str:
    """A finished run with these records."""
    run_id = store.create("c", "name: c")
    with store.lease(run_id) as run:
        run.append(*entries, status="finished")
    return run_id


def say(run: HeldRun, parent: str, text: str, ids: tuple[int, ...] = ()) -> str:
    message = StoredMessage("user", text, ids, parent)
    run.append(Entry("said", {"output": text}, messages=(message,)))
    return message.hash


def test_every_statement_of_sql_is_a_constant() -> None:
    found = 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("execute", "executemany", "executescript"):
                found += 1
                first = node.args[0]
                by_name = isinstance(first, ast.Name) and first.id in ("statement", "begin")
                assert isinstance(first, ast.Constant) or by_name, f"{path.name}:{node.lineno}"
    assert found > 30


@pytest.mark.parametrize("text", ["'; DROP TABLE runs; --", '"', "%", "a\x00b", "\u2028", "?1"])
def test_text_never_becomes_sql(store: Store, text: str) -> None:
    run_id = store.create(text, text, {text: text}, {text: 1})
    with store.lease(run_id) as run:
        run.append(Entry(text, {text: text}, text, text, messages=(StoredMessage(text, text),)))
        run.ask(text, node=text)
    [record, _] = store.records(run_id)
    assert (record.kind, record.payload, record.node) == (text, {text: text}, text)
    assert [one.run_id for one in store.runs(chain=text)] == [run_id]
    assert store.answer(run_id, text).answer == text
    with pytest.raises(UnknownRun):
        store.run(text)


def test_the_example_in_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = textwrap.dedent(str(package.__doc__).split("process:\n")[1])
    names: dict[str, Any] = dict(vars(package))
    exec(compile(code, "example", "exec"), names)
    assert names["answer"] == "the one at the harbour"
    with Store.open("runs.db") as store:
        assert [run.status for run in store.runs()] == ["running", "finished"]
        [*_, last] = store.records(names["run_id"])
        assert last.head is not None
        assert [one.content for one in store.messages(last.head)] == ["Is it open?", "Until six."]
        assert store.check() == []


def test_public_names_exist_once() -> None:
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_nothing_is_rebuilt_from_a_pickle_or_an_import_path() -> None:
    names = {
        alias.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not names & {"pickle", "marshal", "importlib", "import_module", "shelve"}


@given(value=VALUES)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    blobs: Blobs = {}
    text = pack(value, blobs)
    assert unpack(text, blobs.__getitem__) == value
    assert len(text) <= 2048


@given(ids=st.lists(st.integers(0, 2**32 - 1)) | st.lists(st.integers(0, 49151)))
def test_token_ids_are_read_as_they_were_written(ids: list[int]) -> None:
    packed = pack_ids(ids)
    assert unpack_ids(packed) == tuple(ids)
    if max(ids, default=0) < 2**16:
        assert len(packed) <= 1 + 2 * len(ids)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": {"b": {1, 2}}}, "a.b"),
        ({1: "x"}, "give plain JSON"),
        (float("nan"), "not JSON"),
        ("\ud800", "half of a surrogate pair"),
        ([object()], "give plain JSON"),
        (Path("x"), "give plain JSON"),
    ],
)
def test_what_is_not_json_is_refused_and_nothing_of_it_stored(
    store: Store, value: Any, told: str
) -> None:
    run_id = store.create("c", "")
    with store.lease(run_id) as run:
        with pytest.raises(NotStorable, match=told):
            run.append(Entry("fine", "y" * 1000), Entry("wrong", value))
        with pytest.raises(NotStorable, match="not text at character 1"):
            run.append(Entry("said", messages=(StoredMessage("user", "a\ud800"),)))
        assert store.records(run_id) == []
        assert run.append(Entry("fine")) == 1


def test_a_value_nested_too_deeply_is_refused(store: Store) -> None:
    value: Any = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(NotStorable, match=r"not JSON|give plain JSON"):
        store.create("c", "", value)


def test_records_and_definition_are_read_as_they_were_written(tmp_path: Path) -> None:
    now = iter(range(1_700_000_000, 1_700_000_100))
    with Store.open(tmp_path / "a.db", clock=lambda: float(next(now))) as store:
        run_id = store.create("guarded", "name: guarded\n", {"inputs": {"n": 1}}, {"reply": 7})
        with store.lease(run_id) as run:
            assert run.append(Entry("started", {"n": 1}, "reply", "docs.3", 2)) == 1
            assert run.append(Entry("a"), Entry("b"), status="failed") == 3
    with Store.open(tmp_path / "a.db") as store:
        info = store.run(run_id)
        assert (info.chain, info.status, info.records) == ("guarded", "failed", 3)
        assert (info.created, info.updated) == (1_700_000_000, 1_700_000_002)
        assert info.seeds == {"reply": 7} and info.chain_hash == chain_hash("name: guarded\n")
        assert store.definition(run_id).chain_yaml == "name: guarded\n"
        assert store.definition(run_id).input == {"inputs": {"n": 1}}
        first, *others = store.records(run_id)
        assert (first.kind, first.payload, first.node) == ("started", {"n": 1}, "reply")
        assert (first.branch, first.attempt, first.at) == ("docs.3", 2, 1_700_000_001)
        assert [one.seq for one in others] == [2, 3]
        assert [one.kind for one in store.records(run_id, after=2)] == ["b"]


def chat(path: Path, turns: int) -> tuple[str, int]:
    """A run of so many turns of 10 kB; its id, and the bytes of its file."""
    with Store.open(path) as store:
        run_id, head = store.create("chat", "name: chat"), ROOT
        with store.lease(run_id) as run:
            for turn in range(turns):
                text = f"turn {turn} " + chr(65 + turn) * 10_000
                head = say(run, head, text, tuple(range(2_500)))
        assert len(store.messages(head)) == turns
    return run_id, path.stat().st_size


def test_a_conversation_grows_linearly_and_forks_add_almost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    _, empty = chat(tmp_path / "empty.db", 0)
    _, longer = chat(tmp_path / "longer.db", 40)
    run_id, size = chat(path, 20)
    # a text is said twice, in a message and a payload, and stored once; an id takes two bytes
    assert size - empty < 20 * (10_000 + 2 * 2_500) * 1.1
    assert longer - empty < 2 * (size - empty) * 1.05
    with Store.open(path) as store:
        forks = [store.fork(run_id, seq) for seq in (20, 15, 10, 5, 1)]
        for fork in forks:
            with store.lease(fork) as run:
                run.append(Entry("go"), status="finished")
        assert [len(store.records(fork)) for fork in forks] == [21, 16, 11, 6, 2]
    assert path.stat().st_size - size <= 3 * 4096


def test_the_same_long_text_is_stored_once(tmp_path: Path) -> None:
    text = "a document " * 10_000
    with Store.open(tmp_path / "runs.db") as store:
        for _ in range(20):
            run_id = store.create("c", "name: c", {"documents": [{"id": "a", "text": text}]})
            assert store.definition(run_id).input["documents"][0]["text"] == text
    assert (tmp_path / "runs.db").stat().st_size < 2 * len(text)


def test_a_message_needs_its_parent(store: Store) -> None:
    first = StoredMessage("user", "a", (1,))
    second = StoredMessage("assistant", "b", (2,), first.hash)
    assert second.hash != StoredMessage("assistant", "b", (2,)).hash
    run_id = store.create("c", "")
    with store.lease(run_id) as run:
        with pytest.raises(StoreRequestError, match="not stored here"):
            run.append(Entry("said", messages=(second,)))
        with pytest.raises(StoreRequestError, match="is no hash"):
            run.append(Entry("said", head="nonsense"))
        run.append(Entry("said", messages=(first, second)), Entry("back", head=ROOT))
    assert store.messages(second.hash) == [first, second]
    assert [record.head for record in store.records(run_id)] == [second.hash, ROOT]
    assert store.messages(ROOT) == []
    with pytest.raises(StoreRequestError, match="no message"):
        store.messages("ab" * 32)


def test_a_fork_of_a_fork_sees_each_past_up_to_where_it_left_it(store: Store) -> None:
    first = new(store, *(Entry("a", i) for i in range(4)))
    second = store.fork(first, 3)
    with store.lease(second) as run:
        run.append(Entry("b", 3), Entry("b", 4))
    third, fourth = store.fork(second, 4), store.fork(second, 2)
    with store.lease(first) as run:
        run.append(Entry("later"))
    told = [(one.kind, one.payload) for one in store.records(third)]
    assert told == [("a", 0), ("a", 1), ("a", 2), ("b", 3)]
    assert [one.payload for one in store.records(fourth)] == [0, 1]
    assert (store.run(third).parent, store.run(third).forked_at) == (second, 4)
    assert store.run(third).status == "running"
    with pytest.raises(StoreRequestError, match="records 1 to 5; it can't be forked after 9"):
        store.fork(first, 9)
    changed = store.fork(first, 1, "name: other")
    assert store.definition(changed).chain_yaml == "name: other"
    assert store.definition(first).chain_yaml == "name: c"


def test_a_run_is_held_once_and_written_only_while_held(store: Store) -> None:
    run_id = store.create("c", "")
    assert store.holder(run_id) is None
    with store.lease(run_id) as run, pytest.raises(RunIsHeld, match="by process"):
        assert store.holder(run_id) is not None
        with store.lease(run_id):
            pass
    assert store.holder(run_id) is None
    with pytest.raises(StoreRequestError, match="its lease has ended"):
        run.append(Entry("late"))
    with pytest.raises(UnknownRun, match=r"no run '\.\./x'"), store.lease("../x"):
        pass


def test_an_ask_is_answered_once_and_received_once(tmp_path: Path) -> None:
    now = iter(range(1_700_000_000, 1_700_000_100))
    with Store.open(tmp_path / "a.db", clock=lambda: float(next(now))) as store:
        run_id = store.create("c", "")
        with pytest.raises(StoreRequestError, match="asks nothing"):
            store.answer(run_id, "yes")
        with store.lease(run_id) as run:
            ask = run.ask({"question": "Go on?"}, node="human")
            with pytest.raises(StoreRequestError, match="no answer yet"):
                run.receive(ask)
        assert store.run(run_id).status == "waiting"
        answered = store.answer(run_id, {"ok": True})
        assert answered.answer == {"ok": True} and answered.question == {"question": "Go on?"}
        with pytest.raises(AlreadyAnswered, match=r"answered at 2023-11-14T22:13:2\d") as caught:
            store.answer(run_id, {"ok": False})
        assert caught.value.answered == answered.answered
        fork = store.fork(run_id)
        with store.lease(run_id) as run:
            run.receive(ask)
            with pytest.raises(StoreRequestError, match="was received in record 2"):
                run.receive(ask)
        assert store.run(run_id).status == "running"
        assert store.records(run_id)[-1].payload == {"ask": 1, "answer": {"ok": True}}
        # the fork lies before the answer, so it asks anew
        assert store.run(fork).status == "waiting"
        assert store.answer(fork, "other").answer == "other"
        assert store.run(store.fork(run_id)).status == "running"


def test_of_several_asks_one_is_named(store: Store) -> None:
    run_id = store.create("c", "")
    with store.lease(run_id) as run:
        first, second = run.ask("a?", node="a", branch="x"), run.ask("b?", node="b", branch="y")
        with pytest.raises(StoreRequestError, match=r"say which: 1 \(a\), 2 \(b\)"):
            store.answer(run_id, "yes")
        with pytest.raises(StoreRequestError, match="no ask 7; its asks: 1, 2"):
            store.answer(run_id, "yes", 7)
        store.answer(run_id, "two", second)
        run.receive(second)
        assert store.run(run_id).status == "waiting"
        store.answer(run_id, "one")
        run.receive(first)
        assert store.run(run_id).status == "running"


def test_the_first_difference_is_found_whatever_the_branches_timing(store: Store) -> None:
    one = [Entry("done", {"output": "x", "at": 1.0}, "a", "l"), Entry("done", 2, "b", "r")]
    first, second = new(store, *one), new(store, *reversed(one))
    assert store.diff(first, second) is None
    third = new(store, Entry("done", {"output": "y", "at": 9.0}, "a", "l"), *one[1:])
    found = store.diff(first, third)
    assert found is not None and found.place == "output"
    assert found.first is not None and found.first.payload["output"] == "x"
    longer = store.fork(first)
    with store.lease(longer) as run:
        run.append(Entry("more"))
    missing = store.diff(longer, first)
    assert missing is not None and missing.second is None and missing.first is not None
    assert missing.first.kind == "more"
    assert store.diff(first, longer) is not None
    with pytest.raises(UnknownRun):
        store.diff(first, "none")
