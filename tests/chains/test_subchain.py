"""Chains inside chains, and nodes that bring documents into the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains import Chain, ChainDefinitionError, ChainRunError, RunInput
from chains.events import NodeStarted
from flows import HELLO, chain_of, events_of, run

SUB = """\
chain: outer
input: {topic: str}
nodes:
  first: {say: "About {{ input.topic }}."}
  inner:
    subchain:
      of:
        chain: inner
        input: {subject: str}
        nodes:
          first: {say: "Inner {{ input.subject }}."}
        flow: [start -> first, first -> end]
        output: "({{ first.text }})"
      arguments: {subject: input.topic}
flow: [start -> first, first -> inner, inner -> end]
output: "{{ first.text }} {{ inner.text }}"
"""
TEA = RunInput(messages=HELLO.messages, inputs={"topic": "tea"})


def test_a_sub_chain_has_a_state_of_its_own_and_goes_on_with_the_conversation() -> None:
    chain = chain_of(SUB)
    result = chain.run(None, TEA)
    assert result.output == "About tea. (Inner tea.)"
    assert [m["content"] for m in result.messages[1:]] == ["About tea.", "Inner tea."]
    assert chain_of(chain.to_yaml()) == chain
    started = [e for e in events_of(chain, given=TEA) if isinstance(e, NodeStarted)]
    assert [(e.branch, e.node) for e in started] == [
        ("", "first"),
        ("", "inner"),
        ("inner", "first"),
    ]


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (("subject: input.topic", "topic: input.topic"), "14:", "unknown input of inner 'topic'"),
        (("input.subject", "input.sub"), "11:", "unknown name after 'input': 'sub'"),
        (
            ("first -> end]\n        out", "first -> ende]\n        out"),
            "12:",
            "unknown node 'ende'",
        ),
        (("input: {subject: str}", "system: Be brief."), "8:", "its own system text would be lost"),
    ],
)
def test_faults_of_a_sub_chain_are_placed(
    change: tuple[str, str], place: str, message: str
) -> None:
    assert change[0] in SUB
    with pytest.raises(ChainDefinitionError) as caught:
        chain_of(SUB.replace(*change, 1))
    assert message in str(caught.value)
    assert f"chain.yaml:{place}" in str(caught.value)


def test_a_sub_chain_in_a_file_of_its_own_and_one_that_contains_itself(tmp_path: Path) -> None:
    inner = "chain: inner\nnodes: {a: {say: Hi.}}\nflow: [start -> a, a -> end]\n"
    outer = "chain: o\nnodes: {b: {subchain: inner.yaml}}\nflow: [start -> b, b -> end]\n"
    (tmp_path / "inner.yaml").write_text(inner)
    (tmp_path / "outer.yaml").write_text(outer)
    chain = Chain.load(tmp_path / "outer.yaml")
    assert chain.run(None, HELLO).output == "Hi."
    assert chain_of(chain.to_yaml()) == chain
    (tmp_path / "inner.yaml").write_text(inner.replace("say: Hi.", "subchain: outer.yaml"))
    with pytest.raises(
        ChainDefinitionError, match=r"a chain can't contain itself: outer.yaml -> i"
    ):
        Chain.load(tmp_path / "outer.yaml")
    (tmp_path / "inner.yaml").write_text(inner.replace("say:", "sya:"))
    with pytest.raises(ChainDefinitionError, match=r"inner.yaml:2:13: unknown kind of node 'sya'"):
        Chain.load(tmp_path / "outer.yaml")


def test_retrieved_passages_become_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "library.md").write_text("The harbour library opened in 1931.")
    text = f"""\
chain: find
nodes:
  found: {{retrieve: {{folder: {tmp_path / "texts"}, query: "{{{{ user }}}} harbour", top: 1}}}}
  again: {{retrieve: {{folder: {tmp_path / "texts"}, query: harbour}}}}
  told: {{say: "{{{{ found.count }}}} {{{{ documents | length }}}} {{{{ documents[0].text }}}}"}}
flow: [start -> found, found -> again, again -> told, told -> end]
"""
    assert run(chain_of(text)).output == "1 1 The harbour library opened in 1931."
    gone = text.replace(str(tmp_path / "texts"), str(tmp_path / "gone"))
    with pytest.raises(ChainRunError, match=r"node 'found': .*there is no such folder"):
        run(chain_of(gone))
