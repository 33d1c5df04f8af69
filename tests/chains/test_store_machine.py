"""Random appends, forks, answers, prunes and reopenings agree with a dictionary."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from chains.store import ENDED, ROOT, Entry, Status, Store, StoredMessage

TEXTS = st.sampled_from(["", "short", "long text " * 60, "other long text " * 60, "$blob"])
PAYLOADS = (
    TEXTS | st.fixed_dictionaries({"output": TEXTS, "$n": st.integers()}) | st.just([1] * 900)
)


@dataclass
class Twin:
    """What a run should be."""

    status: str = "running"
    records: list[tuple[Any, str | None]] = field(default_factory=list)
    parent: str | None = None
    open: dict[int, Any] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """One store, and the runs it should have."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "runs.db"
        self.store = Store.open(self.path)
        self.runs: dict[str, Twin] = {}
        self.talks: dict[str, list[StoredMessage]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(target=names, text=TEXTS)
    def create(self, text: str) -> str:
        name = self.store.create("c", text, {"text": text})
        self.runs[name] = Twin()
        return name

    @rule(
        name=names,
        payloads=st.lists(PAYLOADS, min_size=1, max_size=3),
        status=st.none() | st.sampled_from(ENDED),
    )
    def append(self, name: str, payloads: list[Any], status: Status | None) -> None:
        if name not in self.runs:
            return
        twin = self.runs[name]
        with self.store.lease(name) as run:
            assert run.append(*(Entry("e", one) for one in payloads), status=status) == len(
                twin.records
            ) + len(payloads)
        twin.records += [(payload, None) for payload in payloads]
        twin.status = status or twin.status

    @rule(name=names, texts=st.lists(TEXTS, min_size=1, max_size=2), anew=st.booleans())
    def say(self, name: str, texts: list[str], anew: bool) -> None:
        if name not in self.runs:
            return
        twin = self.runs[name]
        heads = [head for _, head in twin.records if head is not None]
        head = ROOT if anew or not heads else heads[-1]
        said = list(self.talks.get(head, []))
        for text in texts:
            said.append(StoredMessage("user", text, (len(text), 3), head))
            head = said[-1].hash
        self.talks[head] = said
        with self.store.lease(name) as run:
            run.append(Entry("said", "s", messages=tuple(said[-len(texts) :])))
        twin.records.append(("s", head))

    @rule(name=names, text=TEXTS)
    def ask(self, name: str, text: str) -> None:
        if name not in self.runs:
            return
        twin = self.runs[name]
        with self.store.lease(name) as run:
            seq = run.ask(text)
        twin.records.append((text, None))
        twin.open[seq] = text
        twin.status = "waiting"

    @rule(name=names, text=TEXTS)
    def answer(self, name: str, text: str) -> None:
        twin = self.runs.get(name)
        if twin is None or not twin.open:
            return
        seq = min(twin.open)
        del twin.open[seq]
        self.store.answer(name, text, seq)
        with self.store.lease(name) as run:
            run.receive(seq)
        twin.records.append(({"ask": seq, "answer": text}, None))
        twin.status = "waiting" if twin.open else "running"

    @rule(target=names, name=names, share=st.floats(0, 1))
    def fork(self, name: str, share: float) -> Any:
        if name not in self.runs:
            return multiple()
        past = self.runs[name]
        at = int(share * len(past.records))
        child = self.store.fork(name, at)
        answered = {
            one["ask"]: i
            for i, (one, _) in enumerate(past.records[:at])
            if isinstance(one, dict) and "ask" in one
        }
        open_ = {
            ask.seq: ask.question
            for ask in self.store.asks(name)
            if ask.seq <= at and ask.seq not in answered
        }
        status = "waiting" if open_ else "running"
        self.runs[child] = Twin(status, past.records[:at], name, open_)
        return child

    @rule(keep=st.integers(0, 2), dry_run=st.booleans(), all_=st.booleans())
    def prune(self, keep: int, dry_run: bool, all_: bool) -> None:
        status = ("running", "waiting", *ENDED) if all_ else ENDED
        newest = [run.run_id for run in self.store.runs()]
        going = [name for name in newest if self.runs[name].status in status][keep:]
        while True:  # the past of what stays, stays
            past = {self.runs[name].parent for name in newest if name not in going}
            if not past & set(going):
                break
            going = [name for name in going if name not in past]
        told = self.store.prune(status=status, keep=keep, dry_run=dry_run)
        assert {run.run_id for run in told.runs} == set(going)
        if not dry_run:
            for name in going:
                del self.runs[name]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path)

    @invariant()
    def same(self) -> None:
        assert {run.run_id: run.status for run in self.store.runs()} == {
            name: twin.status for name, twin in self.runs.items()
        }
        for name, twin in self.runs.items():
            records = self.store.records(name)
            assert [(one.payload, one.head) for one in records] == twin.records
            assert [one.seq for one in records] == list(range(1, len(records) + 1))
            for _, head in twin.records[-3:]:
                if head is not None:
                    assert self.store.messages(head) == self.talks[head]
        assert self.store.check() == []


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestStoreAgainstADictionary = Machine.TestCase
