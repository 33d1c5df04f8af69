"""Known attacks: on templates, on conditions, on YAML, and by text that looks like a template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks import ATTRIBUTES, CONDITIONS, ENDLESS, GLOBALS, LOADING
from chains.chain import Chain
from chains.errors import ChainDefinitionError
from chains.inputs import RunInput
from chains.parsing import ExpressionFault, parse
from conftest import tiny_engine
from intrinsics.engine import Engine
from intrinsics.errors import DefinitionError
from intrinsics.located import load
from intrinsics.messages import Document, Message
from intrinsics.prompt import documents_text
from intrinsics.sandbox import MAX_CHARACTERS, MAX_WORK
from intrinsics.spec import Definition
from intrinsics.template import Template, TemplateFault

SECRET = re.compile(r"class|0x|built-in|Context|object at|module")
DATA: Mapping[str, Any] = {
    "user": "hello",
    "big": "x" * 100_000,
    "messages": [{"role": "user", "content": "hello"}] * 1000,
    "input": {"items": "fine", "n": 3, "p": 0.25},
}
SHAPE = dict.fromkeys(DATA)


@pytest.mark.parametrize("attack", [*ATTRIBUTES, *GLOBALS, *LOADING, *ENDLESS])
def test_an_attack_on_a_template_ends_in_a_specific_error(attack: str) -> None:
    """Bounded by count, not by time: what is refused or charged does not depend on the machine."""
    with pytest.raises(TemplateFault) as caught:
        Template(attack).render(DATA)
    assert str(caught.value)
    assert not SECRET.search(re.sub(r"'[^']*'", "", str(caught.value)))


@pytest.mark.parametrize("attack", LOADING)
def test_what_no_template_has_is_refused_when_it_is_loaded(attack: str) -> None:
    [fault, *_] = Template(attack).check(SHAPE)
    assert re.search("a template (can't|has no)|^template: ", fault.message)


@pytest.mark.parametrize("attack", ENDLESS)
def test_a_template_that_is_looked_at_raises_nothing(attack: str) -> None:
    Template(attack).check(SHAPE)


PIECES = st.sampled_from(
    [
        *("{{ ", " }}", "{% ", " %}", "{#", "#}", "if ", "for ", "in ", "endif", "endfor", "else"),
        *("user", "input", "messages", "loop", "self", "x", "'a'", "1", "-1", "1.5", "[", "]", "("),
        *(")", ".", "|", " ~ ", " + ", " * ", " % ", " == ", " is ", "defined", "upper", "join"),
        *("map", "(attribute='role')", "replace", "[:1]", "{", "}", ":", ",", "not ", " and "),
        *("set x = 1", "include 'a'", "raw", "endraw", "\n", "round", "tojson", "default('b')"),
    ]
)


@given(st.lists(PIECES, max_size=14).map("".join))
def test_any_text_is_a_template_or_a_template_fault(source: str) -> None:
    for fault in Template(source).check(SHAPE):
        assert 0 <= fault.offset <= len(source)
    try:
        assert not SECRET.search(Template(source).render(DATA))
    except TemplateFault as fault:
        assert 0 <= fault.offset <= len(source)


def test_a_fault_names_its_place() -> None:
    [fault] = Template("a\n {% set x = 1 %}").check(SHAPE)
    assert (fault.offset, fault.message) == (
        3,
        "a template has no {% set %}; it has names, filters, {% if %} and {% for %}",
    )
    [fault] = Template("{{ user.upper() }}").check(SHAPE)
    assert fault.message.startswith("a template can't call anything; use a filter")
    with pytest.raises(TemplateFault, match=f"more than {MAX_WORK} characters and loop steps"):
        Template("{% for a in big %}{% for b in big %}{% endfor %}{% endfor %}").render(DATA)
    with pytest.raises(TemplateFault, match=f"grew beyond {MAX_CHARACTERS} characters"):
        Template("{{ big|replace('x', big) }}").render(DATA)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ user|upper }} {{ input.n + 1 }} {{ input.p|round(1) }}", "HELLO 4 0.2"),
        ("{{ input.items }}{{ input['items'] }}", "finefine"),
        ("{{ messages|length }} {{ messages[-1].content }}", "1000 hello"),
        ("{{ messages[:2]|map(attribute='role')|join(', ') }}", "user, user"),
        ("{{ messages|selectattr('role', 'eq', 'system')|list|length }}", "0"),
        ("{% for m in messages[:2] %}{{ loop.index }}{{ m.role }} {% endfor %}", "1user 2user "),
        ("{% for k, v in {'a': 1}|items %}{{ k }}={{ v }}{% else %}-{% endfor %}", "a=1"),
        ("{% if nothing is defined %}{{ nothing }}{% else %}{{ user ~ 1 }}{% endif %}", "hello1"),
        ("{{ nothing|default('none') }} {{ user|replace('l', 'L') }}", "none heLLo"),
        ("{{ 'ell' in user and not input.n > 3 }} {{ [1, 'a']|tojson }}", 'True [1, "a"]'),
        ("{{ 'yes' if input.p < 0.5 else 'no' }} {{ user + '!' }} {{ 7 % 4 }}", "yes hello! 3"),
        ("{% raw %}{{ 7 * 7 }}{% endraw %}", "{{ 7 * 7 }}"),
    ],
)
def test_what_templates_are_for_works(source: str, text: str) -> None:
    assert Template(source).check({**SHAPE, "nothing": None}) == []
    assert Template(source).render(DATA) == text


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


HOSTILE = "{{ 7*7 }}{% for i in messages %}x{% endfor %}{# gone #} {{ ''.__class__ }}"


@given(st.text(alphabet="{}%#|._'ab7* \n-"))
def test_text_that_a_template_prints_is_never_rendered(text: str) -> None:
    assert Template("{{ user }}{{ [user]|join }}").render({"user": text}) == text + text


def test_an_instruction_shows_user_text_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tone").mkdir()
    (tmp_path / "tone" / "intrinsic.yaml").write_text(
        "name: tone\nversion: 1\njudges: x\nreads: {last: user}\ninstruction: i.j2\n"
        "arguments: {who: Who}\ninvocation: x\nbase_model: m\n"
        "output: {type: enum, labels: [a, b]}\n"
    )
    source = "{{ messages[-1].content }}|{{ documents[0].text }}|{{ arguments.who }}"
    (tmp_path / "tone" / "i.j2").write_text(source)
    message, document = Message(role="user", content=HOSTILE), Document(id="a", text=HOSTILE)
    definition = Definition.load(tmp_path / "tone")
    text = definition.render_instruction([message], [document], {"who": HOSTILE})
    assert text == f"{HOSTILE}|{HOSTILE}|{HOSTILE}"
    (tmp_path / "tone" / "i.j2").write_text("a\n{{ messages.append(1) }}")
    with pytest.raises(DefinitionError, match=r"i\.j2:2:1: a template can't call anything"):
        Definition.load(tmp_path / "tone")


def test_a_conversation_holds_user_text_and_documents_as_they_are(engine: Engine) -> None:
    document = Document(id="a", text=HOSTILE)
    talk = engine.conversation([Message(role="user", content=HOSTILE)], [document])
    text = engine.chat.tokenizer.decode(list(talk.ids))
    assert text.count(HOSTILE) == 2 and documents_text([document]) in text


CHAIN = """chain: echo
input: {topic: str}
nodes: {done: {say: "{{ user }}|{{ input.topic }}|{{ documents[0].text }}"}}
flow: [start -> done, done -> end]
output: "{{ said }}|{{ done.text }}"
"""


def test_a_chain_shows_user_text_as_it_is(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "echo.yaml").write_text(CHAIN)
    chain = Chain.load(tmp_path / "echo.yaml", functions=None)
    given = RunInput(
        messages=(Message(role="user", content=HOSTILE),),
        documents=(Document(id="a", text=HOSTILE),),
        inputs={"topic": HOSTILE},
    )
    said = f"{HOSTILE}|{HOSTILE}|{HOSTILE}"
    assert chain.run(engine, given).output == f"{said}|{said}"


@pytest.mark.parametrize(
    "attack", ["{{ user.__class__ }}", "{% set x = 1 %}", "{{ lipsum() }}", "{{ self }}"]
)
def test_an_attack_in_a_chain_is_refused_or_fails(
    attack: str, tmp_path: Path, engine: Engine
) -> None:
    path = tmp_path / "echo.yaml"
    path.write_text(CHAIN.replace("{{ said }}", attack))
    with pytest.raises(Exception, match=r"template|attribute|unknown|value") as caught:
        chain = Chain.load(path, functions=None)
        given = RunInput(
            messages=(Message(role="user", content="a"),),
            documents=(Document(id="a", text="b"),),
            inputs={"topic": "c"},
        )
        chain.run(engine, given)
    assert type(caught.value).__module__ == "chains.errors"


@pytest.mark.parametrize(("attack", "at"), CONDITIONS)
def test_an_attack_on_a_condition_is_refused_at_its_place(attack: str, at: int) -> None:
    with pytest.raises(ExpressionFault) as caught:
        parse(attack)
    assert 0 <= caught.value.at <= len(attack)
    assert caught.value.at == at


@given(st.text(alphabet="abp.()[]'\"=<>!-+*not in,:{}01_ \\\n", max_size=60))
def test_any_text_is_a_condition_or_an_expression_fault(text: str) -> None:
    try:
        parse(text)
    except ExpressionFault as fault:
        assert 0 <= fault.at <= len(text) + 1


BILLION = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object/apply:os.system ['id']\n", "1:4: the tag "),
        ("a: !!python/object:chains.chain.Chain {}\n", "1:4: the tag "),
        ("a: !!python/name:os.system\n", "1:4: the tag "),
        ("a: !!python/module:os ''\n", "1:4: the tag "),
        ("a: !ruby/object:Gem {}\n", "1:4: the tag "),
        ("!!python/object/new:os.system ['id']\n", "the tag "),
        (BILLION, "an alias to a list or mapping"),
        ("a: [1, &b [2], {c: *b}]\n", "1:8: an alias"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "alias|merge key"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    ],
    ids=range(10),
)
def test_yaml_builds_no_objects_and_does_not_grow(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError, match=expected):
        load(path)
    with pytest.raises(ChainDefinitionError):
        Chain.load(path, functions=None)
