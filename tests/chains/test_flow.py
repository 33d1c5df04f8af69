"""Any flow that is accepted ends and reads back from its YAML; which loops undo what was said."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from chains import Chain, ChainDefinitionError, ChainRunError, RunInput
from chains.expression import Compare, Constant, Ref
from chains.loader import read
from chains.model import ChainModel, Edge, Function, Node, Say
from conftest import tiny_engine, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.messages import Message

HELLO = RunInput(messages=(Message(role="user", content="Hello"),))
NODES = 5


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("intrinsics")
    engine = tiny_engine()
    write_intrinsic(engine, folder, "quality", ("bad", "good"), last="assistant", seed=3)
    engine.catalogue = Catalogue([folder])
    return engine


def chain_of(text: str, engine: Engine, functions: dict[str, Any] | None = None) -> Chain:
    model, places = read(text, "chain.yaml")
    return Chain(model, places, engine.catalogue, functions or {})


@st.composite
def flows(draw: st.DrawFn) -> ChainModel:
    """Every node goes on to the next; a coin may send it further on, or back a bounded way."""
    texts = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
    plain = texts.filter(lambda text: text.strip() and not set("{}") & set(text))
    names = [f"n{i}" for i in range(NODES)]
    nodes: dict[str, Node] = {}
    flow = [Edge(source="start", target="n0")]
    for i, name in enumerate(names):
        later = [*names[i + 1 :], "end"]
        kind = draw(st.sampled_from(["say", "plain", "on", "back"]))
        nodes[name] = Say(text=draw(plain)) if kind == "say" else Function(call="m:coin")
        if kind in ("on", "back"):
            back = kind == "back"
            flow.append(
                Edge(
                    source=name,
                    target=draw(st.sampled_from(names[: i + 1] if back else later)),
                    when=Compare(Ref((name, "value")), "==", Constant(True)),
                    at_most=draw(st.integers(1, 3)) if back else None,
                    then=draw(st.sampled_from(later)) if back else None,
                )
            )
        flow.append(Edge(source=name, target=later[0], otherwise=kind in ("on", "back")))
    return ChainModel(name="drawn", nodes=nodes, flow=tuple(flow))


@settings(deadline=None)
@cases(flows(), st.integers(0, 99))
def test_an_accepted_flow_ends_and_reads_back(model: ChainModel, seed: int) -> None:
    random = Random(seed)

    def coin() -> bool:
        return random.random() < 0.7

    chain = Chain(model, _Nowhere(), Catalogue(), {"m:coin": coin})
    assert read(chain.to_yaml(), "x")[0] == model
    result = chain.run(_ENGINE, HELLO)
    backs = sum(edge.at_most or 0 for edge in model.flow)
    assert len(result.nodes) <= NODES * (backs + 1)


class _Nowhere:
    def fault(self, loc: Any, message: str, offset: int = 0) -> Any:
        raise AssertionError(f"{loc}: {message}")

    def inner(self, loc: Any) -> _Nowhere:
        return self


_ENGINE = tiny_engine()

CLARIFY = """\
chain: clarify
nodes:
  reply: {turn: {max_tokens: 4}}
  question: {ask: "Which bank?"}
flow:
  - start -> reply
  - reply -> question
  - question -> reply: {at_most: 1, then: end}
"""


def test_a_way_back_never_drops_what_a_human_said(engine: Engine) -> None:
    async def answer(question: str) -> str:
        return "The RIVER bank."

    chain = chain_of(CLARIFY, engine)
    result = asyncio.run(chain.arun(engine, HELLO, answer=answer))
    roles = [message["role"] for message in result.messages]
    assert roles == ["user", *["assistant", "assistant", "user"] * 2]
    assert result.messages[3]["content"] == "The RIVER bank."


def test_a_bounded_edge_that_is_no_way_back_to_its_own_beginning_undoes_nothing(
    engine: Engine,
) -> None:
    text = """\
chain: first
nodes:
  hello: {say: Hello.}
  reply: {turn: {max_tokens: 4}}
flow:
  - start -> hello
  - hello -> reply: {at_most: 2, then: end}
  - reply -> hello
"""
    with pytest.raises(ChainDefinitionError, match="'reply' may come right after an assistant"):
        chain_of(text, engine)


def test_a_chain_may_only_judge_what_it_is_given(engine: Engine) -> None:
    text = """\
chain: judge
nodes: {sure: {check: quality}}
flow: [start -> sure, sure -> end]
output: "It is {{ sure.value }}."
"""
    chain = chain_of(text, engine)
    given = RunInput(messages=(*HELLO.messages, Message(role="assistant", content="Hi.")))
    assert chain.run(engine, given).output in ("It is bad.", "It is good.")
    with pytest.raises(ChainRunError, match="node 'sure': quality judges the last assistant"):
        chain.run(engine, HELLO)


def test_an_input_named_as_a_method_is_the_input(engine: Engine) -> None:
    text = """\
chain: named
input: {items: str, values: str}
nodes: {done: {say: "{{ input.items }} and {{ input.values }}"}}
flow: [start -> done, done -> end]
"""
    given = RunInput(messages=HELLO.messages, inputs={"items": "tea", "values": "cake"})
    assert chain_of(text, engine).run(engine, given).output == "tea and cake"


def double(number: int) -> int:
    return 2 * number


def unresolved(number: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    return 1


def unstorable(number: int) -> Engine:
    return _ENGINE


@pytest.mark.parametrize(
    ("call", "value", "message"),
    [
        (double, "'abc'", "double takes a number for 'number', but is given text"),
        (unresolved, "1", "unresolved has an annotation that can't be resolved"),
        (unstorable, "1", "unstorable returns what can't be stored as JSON"),
    ],
)
def test_a_call_is_checked_against_its_annotations(
    engine: Engine, call: Any, value: str, message: str
) -> None:
    text = f"""\
chain: call
nodes: {{f: {{function: {{call: "m:f", arguments: {{number: "{value}"}}}}}}}}
flow: [start -> f, f -> end]
"""
    with pytest.raises(ChainDefinitionError, match=message):
        chain_of(text, engine, {"m:f": call})


def test_a_chain_that_is_only_looked_at_may_name_any_function(engine: Engine) -> None:
    text = "chain: x\nnodes: {f: {function: 'm:f'}}\nflow: [start -> f, f -> end]\n"
    with pytest.raises(ChainDefinitionError, match="unknown function 'm:f'; known: none"):
        chain_of(text, engine)
    model, places = read(text, "chain.yaml")
    chain = Chain(model, places, engine.catalogue, None)
    assert '"start" -> "f"' in chain.dot()
    with pytest.raises(ChainRunError, match="m:f is not registered"):
        chain.run(engine, HELLO)


@pytest.mark.parametrize("kind", ["say", "ask", "function"])
def test_a_node_without_its_text_is_placed(engine: Engine, kind: str) -> None:
    with pytest.raises(ChainDefinitionError, match=r"chain.yaml:2:12: missing"):
        chain_of(f"chain: x\nnodes: {{a: {kind}}}\nflow: [start -> a, a -> end]\n", engine)
