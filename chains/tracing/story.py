"""Events put together to what they tell: the visits of nodes in order, and the path through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import events as ev
from ..drawing import Path, Picture
from ..drawing.picture import picture
from ..errors import InputError
from ..model import START, ChainModel


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model read it; an adapter acted on `activated`."""

    intrinsic: str | None
    text: str
    activated: str

    @property
    def characters(self) -> int:
        """Of the whole prompt."""
        return len(self.text) + len(self.activated)


@dataclass
class Visit:
    """A node from its start to its end; `at` and `until` are seconds since the run began.

    `branch` names the nodes around it; it is empty for one of the chain's own. One that was
    `recalled` was done before the run was resumed, or in the run that this one was forked from.
    """

    number: int
    branch: str
    node: str
    kind: str
    attempt: int
    at: float
    until: float | None = None
    fused: tuple[str, ...] = ()
    output: Any = None
    recalled: bool = False
    ledger: ev.LedgerData = field(default_factory=dict)
    verdicts: list[ev.VerdictReached] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    said: str = ""
    notes: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    left_by: ev.EdgeTaken | None = None


@dataclass
class Story:
    """A run.

    `status` is finished, stopped, failed, waiting (`question` is open), or cut short where its
    events end before it does.
    """

    run: str
    chain: str = ""
    began: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    status: str = "cut short"
    output: str | None = None
    error: str | None = None
    question: str | None = None
    seconds: float = 0.0
    ledger: ev.LedgerData = field(default_factory=dict)
    path: Path = field(default_factory=Path)


def tell(events: Iterable[ev.Event], model: ChainModel, drawn: Picture | None = None) -> Story:
    """The story of a run of a chain.

    Raises: InputError: the events are of another chain, or of this one before it was changed.
    """
    teller = _Teller(model, drawn or picture(model))
    for event in events:
        teller.hear(event)
    return teller.told()


class _Teller:
    def __init__(self, model: ChainModel, drawn: Picture) -> None:
        self.model, self.picture = model, drawn
        self.story = Story("")
        self.last: dict[tuple[str, str], Visit] = {}
        self.prompt = ""
        self.hops: list[ev.EdgeTaken] = []

    def hear(self, event: ev.Event) -> None:
        self.story.seconds = max(self.story.seconds, event.at)
        match event:
            case ev.RunStarted():
                self._begins(event)
            case ev.NodeStarted():
                self._starts(event)
            case ev.EdgeTaken():
                self._goes(event)
            case ev.RunFinished():
                self.story.status = "stopped" if event.stopped else "finished"
                self.story.output, self.story.ledger = event.output, event.ledger
            case ev.RunWaiting():
                self.story.status, self.story.question = "waiting", event.question
            case ev.RunFailed():
                self.story.status, self.story.error = "failed", event.error
            case _:
                self._inside(event)

    def _begins(self, event: ev.RunStarted) -> None:
        if event.chain != self.model.name:
            raise InputError(
                f"the events are of the chain {event.chain!r}, not of {self.model.name!r}; "
                f"name that one by --chain"
            )
        story = self.story
        story.run, story.chain, story.began, story.given = (
            *(event.run, event.chain, event.began),
            event.given,
        )

    def _goes(self, event: ev.EdgeTaken) -> None:
        """The picture has the chain's own edges only, not those of chains inside it."""
        if not event.branch:
            self.hops.append(event)
        visit = self.last.get((event.branch, event.source))
        if visit is not None:
            visit.left_by = event

    def _starts(self, event: ev.NodeStarted) -> None:
        visit = Visit(
            len(self.story.visits) + 1,
            event.branch,
            event.node,
            event.kind,
            event.attempt,
            event.at,
            fused=event.fused,
        )
        self.story.visits.append(visit)
        self.last[event.branch, event.node] = visit

    def _inside(self, event: Any) -> None:
        """What happens at a node, or else after the last one that began.

        Events that are told no other way are kept as notes.
        """
        latest = self.story.visits[-1] if self.story.visits else None
        visit = self.last.get((event.branch, getattr(event, "node", "")), latest)
        if isinstance(event, ev.PromptRead):
            self.prompt = self.prompt[: event.kept_characters] + event.text
        if visit is None:
            return
        if isinstance(event, ev.NodeFailed | ev.Cancelled):
            visit.until = event.at
        match event:
            case ev.PromptRead():
                start = event.activated_character
                split = len(self.prompt) if start is None else start
                visit.prompts.append(
                    Prompt(event.intrinsic, self.prompt[:split], self.prompt[split:])
                )
            case ev.Token():
                visit.said += event.text
            case ev.VerdictReached():
                visit.verdicts.append(event)
            case ev.NodeFinished():
                visit.until, visit.output, visit.ledger = event.at, event.output, event.ledger
                visit.recalled = event.recalled
            case _:
                told = event.model_dump(
                    mode="json",
                    exclude={"event", "run", "at", "branch", "node"},
                    exclude_none=True,
                )
                visit.notes.append((str(event.event).replace("_", " "), told))

    def told(self) -> Story:
        visits = [visit for visit in self.story.visits if not visit.branch]
        nodes = Counter(visit.node for visit in visits)
        nodes[START] += bool(visits)
        arrows: Counter[int] = Counter()
        if visits and not any(hop.source == START for hop in self.hops):
            arrows[self._arrow(START, visits[0].node, None)] += 1
        for hop in self.hops:
            arrows[self._arrow(hop.source, hop.target, hop.condition)] += 1
            nodes[hop.target] += hop.target not in self.model.nodes
        self.story.path = Path(nodes, arrows)
        if not self.story.ledger:
            totals = ("reused", "computed", "forwards", "seconds")
            self.story.ledger = {
                key: sum(visit.ledger.get(key) or 0 for visit in visits) for key in totals
            }
        return self.story

    def _arrow(self, source: str, target: str, condition: str | None) -> int:
        """The arrow that was taken, by its place in the picture."""
        found = [
            index
            for index, arrow in enumerate(self.picture.arrows)
            if (arrow.source, arrow.target) == (source, target)
        ]
        if not found:
            raise InputError(
                f"the run went from {source!r} to {target!r}, but the chain {self.model.name!r} "
                f"has no such edge; it was changed since, so give the chain as it was"
            )
        same = [i for i in found if self.picture.arrows[i].label == (condition or "")]
        return (same or found)[0]
