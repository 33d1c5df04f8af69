"""A run's events as OpenTelemetry spans: one for the run, and one for every visit of a node.

Names are those of the GenAI semantic conventions, with the tokens that the KV cache saved beside
them. No text of a prompt, a reply or a question is recorded, but the message of an error is. Needs
the extra `otel`; without a provider that the program has set up, spans go nowhere.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from opentelemetry.trace import (
    Span,
    Status,
    StatusCode,
    TracerProvider,
    get_tracer,
    set_span_in_context,
)

from .. import events as ev
from ..model import ChainModel

_OPERATIONS = {"turn": "chat", "check": "evaluate", "function": "execute_tool"}
_OPERATIONS |= {"retrieve": "retrieval", "subchain": "invoke_workflow"}
_REQUEST = ("max_tokens", "temperature", "top_p", "seed")
_NAMES = ("source", "target", "condition")
_TOKENS = {"reused": "alora.tokens.reused", "computed": "alora.tokens.computed"}


async def traced(
    events: AsyncGenerator[ev.Event, None],
    model: ChainModel,
    *,
    base_model: str | None = None,
    provider: TracerProvider | None = None,
) -> AsyncGenerator[ev.Event, None]:
    """The same events, recorded as spans of `provider` (None: the program's) as they pass.

    `base_model` names what answers, as `gen_ai.request.model`. The run's span is a child of the
    span that is current where the iteration begins.
    """
    spans = _Spans(model, base_model, provider)
    try:
        async with aclosing(events) as stream:
            async for event in stream:
                spans.hear(event)
                yield event
    finally:
        spans.close()


class _Spans:
    def __init__(
        self, model: ChainModel, base_model: str | None, provider: TracerProvider | None
    ) -> None:
        self.tracer = get_tracer("chains", tracer_provider=provider)
        self.model, self.base_model = model, base_model
        self.open: dict[str, Span] = {}  # by branch and name
        self.run: Span | None = None
        self.began = time.time_ns()

    def hear(self, event: ev.Event) -> None:
        """Begin, mark or end what the event is about."""
        at = self.began + int(event.at * 1e9)
        match event:
            case ev.RunStarted():
                self.began = time.time_ns() - int(event.at * 1e9)
                self._start_run(event)
            case ev.NodeStarted():
                self._start_node(event, at)
            case ev.NodeFinished():
                self._finish_node(event, at)
            case ev.RunFinished():
                self._end_run(at, event.ledger)
            case ev.RunFailed():
                for span in (*self.open.values(), self.run):
                    if span is not None:
                        span.set_attribute("error.type", "ChainRunError")
                        span.set_status(Status(StatusCode.ERROR, event.error))
                self._end_run(at, {})
            case ev.VerdictReached():
                self._mark(event, "gen_ai.evaluation.result", _evaluation(event), at)
            case ev.Token() | ev.PromptRead():
                pass
            case _:
                self._mark(event, f"chains.{event.event}", _named(event), at)

    def close(self) -> None:
        """End what is still open: the iteration was given up."""
        for span in (*self.open.values(), self.run):
            if span is not None:
                span.end()
        self.open, self.run = {}, None

    def _start_run(self, event: ev.RunStarted) -> None:
        self.run = self.tracer.start_span(
            f"invoke_workflow {event.chain}",
            start_time=self.began,
            attributes={
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": event.chain,
                "alora.run.id": event.run,
            },
        )

    def _start_node(self, event: ev.NodeStarted, at: int) -> None:
        operation = _OPERATIONS.get(event.kind, event.kind)
        around = self._around(event.branch)
        context = None if around is None else set_span_in_context(around)
        span = self.tracer.start_span(f"{operation} {event.node}", context, start_time=at)
        span.set_attributes(
            {
                "gen_ai.operation.name": operation,
                "alora.node.name": event.node,
                "alora.node.kind": event.kind,
                "alora.node.attempt": event.attempt,
            }
        )
        node = self.model.nodes.get(event.node)
        if event.kind == "turn":
            for name in _REQUEST:
                span.set_attribute(f"gen_ai.request.{name}", getattr(node, name))
        if event.kind == "function":
            span.set_attribute("gen_ai.tool.name", getattr(node, "call", event.node))
        if event.kind in ("turn", "check") and self.base_model is not None:
            span.set_attribute("gen_ai.request.model", self.base_model)
        self.open[_place(event.branch, event.node)] = span

    def _around(self, branch: str) -> Span | None:
        """The span of the innermost node that a branch is inside of; a later visit has a "#"."""
        inner = branch.split("/") if branch else []
        while inner:
            place = "/".join([*inner[:-1], inner[-1].partition("#")[0]])
            if place in self.open:
                return self.open[place]
            inner.pop()
        return self.run

    def _finish_node(self, event: ev.NodeFinished, at: int) -> None:
        span = self.open.pop(_place(event.branch, event.node), None)
        if span is None:
            return
        _set_tokens(span, event.ledger)
        if event.kind in ("turn", "check"):
            reused = int(event.ledger["reused"] or 0)
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", reused)
        span.end(end_time=at)

    def _end_run(self, at: int, ledger: ev.LedgerData) -> None:
        for span in (*self.open.values(), self.run):
            if span is not None:
                if span is self.run:
                    _set_tokens(span, ledger)
                span.end(end_time=at)
        self.open, self.run = {}, None

    def _mark(self, event: ev.Event, name: str, told: Mapping[str, Any], at: int) -> None:
        span = self.open.get(_place(event.branch, getattr(event, "node", ""))) or self.run
        if span is not None:
            span.add_event(name, dict(told), timestamp=at)


def _place(branch: str, node: str) -> str:
    """Where a node is, as the events of what runs inside it name it."""
    return f"{branch}/{node}" if branch else node


def _named(event: ev.Event) -> dict[str, Any]:
    """Numbers and names of an event, without texts that somebody wrote."""
    told = event.model_dump(exclude={"event", "run", "at", "branch", "node"})
    return {
        key: value
        for key, value in told.items()
        if isinstance(value, bool | int | float) or (key in _NAMES and value is not None)
    }


def _evaluation(event: ev.VerdictReached) -> dict[str, Any]:
    """A verdict: its label and how likely that is, or its number."""
    told: dict[str, Any] = {"gen_ai.evaluation.name": event.intrinsic}
    if isinstance(event.value, float):
        return told | {"gen_ai.evaluation.score.value": event.value}
    label = str(event.value).lower() if isinstance(event.value, bool) else str(event.value)
    if event.distribution:
        told["gen_ai.evaluation.score.label"] = label
        told["gen_ai.evaluation.score.value"] = event.distribution[label]
    return told


def _set_tokens(span: Span, ledger: ev.LedgerData) -> None:
    for key, name in _TOKENS.items():
        span.set_attribute(name, int(ledger.get(key) or 0))
