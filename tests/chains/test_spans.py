"""OpenTelemetry spans of a run, read from the SDK's in-memory exporter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chains import Chain, ChainRunError
from chains import events as ev
from chains.tracing.spans import traced
from intrinsics.engine import Engine
from traced import GIVEN, HOSTILE, YAML, chain_of, traced_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return traced_engine(tmp_path_factory.mktemp("intrinsics"))


def recorded(
    chain: Chain, engine: Engine, until: type[ev.Token] | None = None
) -> tuple[list[ev.Event], tuple[ReadableSpan, ...]]:
    """Events and spans of a run, given up at the first event of the type `until`."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    events: list[ev.Event] = []

    async def collect() -> None:
        stream = chain.stream(engine, GIVEN)
        with provider.get_tracer("test").start_as_current_span("request"):
            async with aclosing(
                traced(stream, chain.model, base_model="tiny", provider=provider)
            ) as passing:
                async for event in passing:
                    events.append(event)
                    if until is not None and isinstance(event, until):
                        break

    try:
        asyncio.run(collect())
    except ChainRunError:
        assert events[-1].event == "run_failed"
    return events, exporter.get_finished_spans()


def test_spans_are_the_visits_of_nodes_below_that_of_the_run(engine: Engine) -> None:
    events, spans = recorded(chain_of(YAML, engine), engine)
    *nodes, run, request = spans
    visits = [one for one in events if isinstance(one, ev.NodeFinished)]
    operations = {"turn": "chat", "check": "evaluate", "say": "say"}
    assert [one.name for one in nodes] == [f"{operations[one.kind]} {one.node}" for one in visits]
    assert run.name == "invoke_workflow traced"
    assert run.parent is not None and run.parent.span_id == request.context.span_id
    assert {one.parent.span_id for one in nodes if one.parent} == {run.context.span_id}
    for span, visit in zip(nodes, visits, strict=True):
        told = span.attributes or {}
        assert told["alora.tokens.reused"] == visit.ledger["reused"]
        assert told["alora.tokens.computed"] == visit.ledger["computed"]
        if visit.kind in ("turn", "check"):
            assert told["gen_ai.usage.cache_read.input_tokens"] == visit.ledger["reused"]
            assert told["gen_ai.request.model"] == "tiny"
        assert span.start_time and span.end_time and span.start_time <= span.end_time
    assert (run.attributes or {})["gen_ai.workflow.name"] == "traced"


def test_a_turn_says_how_it_was_asked_and_a_check_what_was_found(engine: Engine) -> None:
    events, spans = recorded(chain_of(YAML, engine), engine)
    reply = next(span for span in spans if span.name == "chat reply")
    told = reply.attributes or {}
    assert told["gen_ai.request.max_tokens"] == 12 and told["gen_ai.request.temperature"] == 1.0
    screen = next(span for span in spans if span.name == "evaluate screen")
    found = [
        dict(e.attributes or {}) for e in screen.events if e.name == "gen_ai.evaluation.result"
    ]
    verdicts = [one for one in events if isinstance(one, ev.VerdictReached)][:2]
    assert found == [
        {
            "gen_ai.evaluation.name": one.intrinsic,
            "gen_ai.evaluation.score.label": one.value,
            "gen_ai.evaluation.score.value": one.distribution[str(one.value)],
        }
        for one in verdicts
    ]


def test_no_text_is_recorded(engine: Engine) -> None:
    _, spans = recorded(chain_of(YAML, engine), engine)
    assert HOSTILE not in "".join(span.to_json() for span in spans)
    assert "capital of France" not in "".join(span.to_json() for span in spans)
    edges = [dict(e.attributes or {}) for e in spans[-2].events if e.name == "chains.edge_taken"]
    assert edges[0] == {"source": "screen", "target": "reply", "condition": "otherwise"}


def test_a_failure_marks_the_node_and_the_run(engine: Engine) -> None:
    text = "chain: asks\nnodes: {who: {ask: Who?}}\nflow: [start -> who, who -> end]\n"
    _, (node, run, _) = recorded(chain_of(text, engine), engine)
    for span in (node, run):
        assert span.status.status_code.name == "ERROR"
        assert "nobody is there" in (span.status.description or "")


def test_spans_end_when_a_run_is_given_up(engine: Engine) -> None:
    _, spans = recorded(chain_of(YAML, engine), engine, until=ev.Token)
    assert [one.name for one in spans] == [
        *("evaluate screen", "chat reply", "invoke_workflow traced", "request")
    ]


def test_without_a_provider_the_events_pass_all_the_same(engine: Engine) -> None:
    chain = chain_of(YAML, engine)

    async def collect() -> list[ev.Event]:
        return [event async for event in traced(chain.stream(engine, GIVEN), chain.model)]

    assert asyncio.run(collect())[-1].event == "run_finished"


def test_what_runs_inside_a_node_is_below_its_span(engine: Engine) -> None:
    chain = chain_of(YAML, engine)
    free: ev.LedgerData = {"reused": 0, "computed": 0}
    at: dict[str, Any] = {"run": "r", "at": 0.0}
    inside: dict[str, Any] = {**at, "branch": "screen#2/1"}
    told: list[ev.Event] = [
        ev.RunStarted(**at, chain="traced"),
        ev.NodeStarted(**at, node="screen", kind="parallel", attempt=2),
        ev.NodeStarted(**inside, node="a", kind="say"),
        ev.NodeFinished(**inside, node="a", kind="say", output="", ledger=free),
        ev.NodeFinished(**at, node="screen", kind="parallel", output="", ledger=free),
        ev.RunFinished(**at, output="", ledger=free),
    ]
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def events() -> AsyncGenerator[ev.Event, None]:
        for one in told:
            yield one

    async def collect() -> None:
        async for _ in traced(events(), chain.model, provider=provider):
            pass

    asyncio.run(collect())
    inner, outer, run = exporter.get_finished_spans()
    assert inner.parent is not None and inner.parent.span_id == outer.context.span_id
    assert outer.parent is not None and outer.parent.span_id == run.context.span_id
