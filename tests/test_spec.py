"""Definitions: what loads, and the message for everything that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from intrinsics.catalogue import Catalogue
from intrinsics.errors import DefinitionError, RequestError
from intrinsics.library import library_path
from intrinsics.messages import Document, Message
from intrinsics.sandbox import MAX_CHARACTERS
from intrinsics.spec import Definition
from intrinsics.template import Template, TemplateFault

GOOD = """\
name: tone
version: 1
judges: Whether the reply is polite.
reads:
  last: assistant
  documents: none
arguments:
  audience: Who will read it.
instruction: instruction.j2
invocation: "<|im_start|>tone\\n"
output:
  type: enum
  labels: [polite, rude]
  positive: rude
base_model: SmolLM2-135M-Instruct
"""


def write(
    directory: Path, text: str = GOOD, template: str | None = "For {{ arguments.audience }}."
) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "intrinsic.yaml").write_text(text, encoding="utf-8")
    if template is not None:
        (directory / "instruction.j2").write_text(template, encoding="utf-8")
    return directory


def fault_of(directory: Path) -> str:
    with pytest.raises(DefinitionError) as caught:
        Definition.load(directory)
    return str(caught.value).replace(str(directory), "DIR")


def test_a_good_definition_loads_and_knows_its_places(tmp_path: Path) -> None:
    definition = Definition.load(write(tmp_path / "tone"))
    assert definition.name == "tone"
    assert definition.directory == tmp_path / "tone"
    assert definition.output.labels == ("polite", "rude")
    assert definition.calibration.temperature == 1.0
    assert definition.place("invocation") == f"{tmp_path}/tone/intrinsic.yaml:10:13"
    text = definition.render_instruction(
        [Message(role="user", content="hi")], [Document(id="a", text="b")], {"audience": "kids"}
    )
    assert text == "For kids."


def test_a_definition_without_instruction_adds_no_text(tmp_path: Path) -> None:
    text = GOOD.replace("instruction: instruction.j2\n", "")
    definition = Definition.load(write(tmp_path / "tone", text, template=None))
    assert definition.render_instruction([], [], {"audience": "kids"}) == ""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "version: 1\n",
            "",
            "DIR/intrinsic.yaml:1:1: missing key 'version'\n    name: tone\n    ^",
        ),
        (
            "judges:",
            "judge:",
            "DIR/intrinsic.yaml:3:1: unknown key 'judge'; did you mean 'judges'?",
        ),
        (
            "  labels: [",
            "  lables: [",
            "DIR/intrinsic.yaml:13:3: unknown key 'lables'; did you mean 'labels'?\n"
            "      lables: [polite, rude]\n      ^",
        ),
        ("name: tone", "name: My Tone", "DIR/intrinsic.yaml:1:7: string should match pattern"),
        ("version: 1", "version: one", "DIR/intrinsic.yaml:2:10: input should be a valid integer"),
        ("name: tone", "name: tone\nname: x", "DIR/intrinsic.yaml:2:1: duplicate key 'name'"),
        ("reads:", "reads: [", "not YAML:"),
        ("name: tone", "name: !!python/object:os.system x", "only plain YAML is read"),
        ("name: tone", "- name: tone", "not YAML"),
        (
            "last: assistant",
            "last: asistant",
            "DIR/intrinsic.yaml:5:9: unknown value 'asistant'; did you mean 'assistant'?",
        ),
        (
            "type: enum",
            "type: enumm",
            "DIR/intrinsic.yaml:12:9: unknown value 'enumm'; did you mean 'enum'?",
        ),
        ("  type: enum\n", "", "DIR/intrinsic.yaml:12:3: missing key 'type'"),
        ("[polite, rude]", "[polite, '']", "DIR/intrinsic.yaml:13:11: bad label ''"),
        ("[polite, rude]", "[polite, polite]", "label 'polite' is there twice"),
        ("[polite, rude]", "[polite]", "at least 2"),
        ("[polite, rude]", "polite", "DIR/intrinsic.yaml:13:11: input should be a valid tuple"),
        (
            "positive: rude",
            "positive: rud",
            "DIR/intrinsic.yaml:14:13: positive is 'rud', which is no label; "
            "use one of 'polite', 'rude'",
        ),
        (
            "instruction.j2",
            "other.j2",
            "DIR/intrinsic.yaml:9:14: the template DIR/other.j2 is missing\n"
            "    instruction: other.j2\n                 ^",
        ),
        ("instruction.j2", "../secret", "must be a file in the directory itself"),
        (
            "instruction: instruction.j2",
            "instruction_place: after",
            "DIR/intrinsic.yaml:9:20: there is no instruction to place",
        ),
        ("audience: Who", "the reader: Who", "argument 'the reader' is not a name"),
        ("base_model:", "calibration: {temperature: 0}\nbase_model:", "greater than 0; it is 0"),
    ],
)
def test_a_wrong_definition_names_the_place_and_the_fault(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    assert expected in fault_of(write(tmp_path / "tone", GOOD.replace(old, new, 1)))


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    text = GOOD.replace("judges:", "judge:").replace("rude]", "polite]")
    with pytest.raises(DefinitionError) as caught:
        Definition.load(write(tmp_path / "tone", text))
    assert [fault.line for fault in caught.value.faults] == [1, 13, 3]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "For\n  {{ audience }}.",
            "DIR/instruction.j2:2:6: unknown template variable 'audience'; "
            "known: arguments, messages, documents\n      {{ audience }}.\n         ^",
        ),
        (
            "{{ arguments.audienc }}",
            "DIR/instruction.j2:1:14: unknown name after 'arguments': 'audienc'; "
            "did you mean 'audience'?",
        ),
        ("a\n b {{ x", "DIR/instruction.j2:2:4: template: unexpected end of template"),
        ("{% include 'x' %}", "DIR/instruction.j2:1:1: a template can't load another one"),
        ("{{ 1|nofilter }}", "DIR/instruction.j2:1:1: template: No filter named 'nofilter'."),
    ],
)
def test_a_wrong_instruction_names_the_place_and_the_fault(
    tmp_path: Path, template: str, expected: str
) -> None:
    assert expected in fault_of(write(tmp_path / "tone", template=template))


def test_an_alias_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("[polite, rude]", "&a [polite, rude]") + "arguments2: *a\n"
    assert "an alias to a list or mapping" in fault_of(write(tmp_path / "tone", text))


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    assert fault_of(tmp_path).startswith("DIR/intrinsic.yaml:1:1: missing")
    (tmp_path / "intrinsic.yaml").write_bytes(b"name: \xff")
    assert "cannot read it as UTF-8" in fault_of(tmp_path)
    (tmp_path / "intrinsic.yaml").write_text("[" * 5000)
    assert "nested too deeply" in fault_of(tmp_path)
    (tmp_path / "intrinsic.yaml").write_text("- a\n")
    assert "must be a mapping" in fault_of(tmp_path)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    definition = Definition.load(write(tmp_path / "tone"))
    with pytest.raises(RequestError, match="tone needs the argument 'audience': Who will read it"):
        definition.render_instruction([], [], {})
    with pytest.raises(RequestError, match="takes no argument 'x'; it takes 'audience'"):
        definition.render_instruction([], [], {"audience": "kids", "x": ""})


def test_a_failing_instruction_names_its_line(tmp_path: Path) -> None:
    directory = write(tmp_path / "tone", template="a\n{{ messages[0].content }}")
    definition = Definition.load(directory)
    with pytest.raises(DefinitionError, match=r"instruction\.j2:2:1: template: "):
        definition.render_instruction([], [], {"audience": ""})


def test_each_output_type_turns_a_distribution_into_its_value() -> None:
    def output(**values: object) -> Definition:
        fields = {
            "name": "x",
            "version": 1,
            "judges": "x",
            "reads": {"last": "user"},
            "invocation": "x",
            "base_model": "m",
        }
        return Definition.model_validate({**fields, "output": values})

    enum = output(type="enum", labels=["a", "b"])
    assert enum.value_of({"a": 0.4, "b": 0.6}) == "b"
    assert enum.output.python_type() == Literal["a", "b"]
    assert enum.output.json_schema() == {"type": "string", "enum": ["a", "b"]}
    boolean = output(type="bool")
    assert boolean.value_of({"true": 0.4, "false": 0.6}) is False
    assert boolean.output.python_type() is bool
    integer = output(type="integer", minimum=1, maximum=3)
    assert integer.output.labels == ("1", "2", "3")
    assert integer.value_of({"1": 0.2, "2": 0.7, "3": 0.1}) == 2
    assert integer.output.json_schema() == {"type": "integer", "minimum": 1, "maximum": 3}
    probability = output(type="probability", labels=["no", "yes"], positive="yes")
    assert probability.value_of({"no": 0.4, "yes": 0.6}) == 0.6
    assert probability.output.python_type() is float
    with pytest.raises(ValueError, match="must be above it"):
        output(type="integer", minimum=3, maximum=3)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% for i in range(99999) %}{{ 'x' * 1 }}{{ i }}" + "x" * 50 + "{% endfor %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ x.append(1) }}",
        "{{ y }}",
    ],
)
def test_a_template_can_neither_grow_nor_escape(source: str) -> None:
    with pytest.raises(TemplateFault):
        Template(source).render({"x": []})
    assert MAX_CHARACTERS == 1_000_000


def test_the_catalogue_finds_shipped_and_own_definitions(tmp_path: Path) -> None:
    write(tmp_path / "tone")
    catalogue = Catalogue([tmp_path])
    assert "tone" in catalogue.names()
    assert catalogue.get("tone").name == "tone"
    assert catalogue.get("tone") is catalogue.get(tmp_path / "tone")
    with pytest.raises(RequestError, match="unknown intrinsic 'tome'; did you mean 'tone'"):
        catalogue.get("tome")


def test_the_catalogue_refuses_doubtful_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "tone")
    with pytest.raises(RequestError, match="two intrinsics are named 'tone'"):
        Catalogue([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(RequestError, match="no such folder of intrinsics"):
        Catalogue([tmp_path / "none"])
    (tmp_path / "one" / "tone").rename(tmp_path / "one" / "mood")
    with pytest.raises(RequestError, match="the directory is 'mood'; rename one of them"):
        Catalogue([tmp_path / "one"]).get("mood")


def test_the_library_lies_in_the_checkout() -> None:
    assert library_path().name == "library"
