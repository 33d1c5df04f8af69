"""A chain's model written as YAML: short spellings where they say everything."""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from .expression import Constant, Operand
from .model import ChainModel, Check, Edge, Field_, Function, Node

_SHORT = {"turn": "prompt", "say": "text", "ask": "question"}


class _Representer(SafeRepresenter):
    """Quotes a text that begins as YAML's signs for keys do: ruamel leaves it plain."""

    def represent_str(self, data: str) -> Any:
        style = "'" if data.startswith(("?", ":")) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(model: ChainModel) -> str:
    """YAML that reads back to an equal model."""
    data: dict[str, Any] = {"chain": model.name, "version": model.version}
    for key in ("description", "system"):
        if getattr(model, key) is not None:
            data[key] = getattr(model, key)
    if model.input:
        data["input"] = {name: _input(field) for name, field in model.input.items()}
    data["nodes"] = {name: {node.kind: _node(node)} for name, node in model.nodes.items()}
    data["flow"] = [_edge(edge) for edge in model.flow]
    if model.output is not None:
        data["output"] = model.output
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    out = StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _input(field: Field_) -> Any:
    return field.type if field.default is None else field.model_dump()


def _node(node: Node) -> Any:
    if isinstance(node, Check):
        if any(node.intrinsics.values()):
            return node.intrinsics
        names = list(node.intrinsics)
        return names[0] if len(names) == 1 else names
    if isinstance(node, Function):
        if not node.arguments:
            return node.call
        given = {name: _operand(operand) for name, operand in node.arguments.items()}
        return {"call": node.call, "arguments": given}
    given = node.model_dump(exclude_defaults=True, mode="json")
    short = _SHORT[node.kind]
    if not given:
        return None
    return given[short] if list(given) == [short] else given


def _operand(operand: Operand) -> Any:
    """Text is an expression, so a literal text keeps its quotes."""
    if isinstance(operand, Constant) and not isinstance(operand.value, str):
        return operand.value
    return str(operand)


def _edge(edge: Edge) -> Any:
    spec: dict[str, Any] = {}
    if edge.when is not None:
        spec["when"] = str(edge.when)
    if edge.otherwise:
        spec["otherwise"] = True
    if edge.abstain_below is not None:
        spec["abstain_below"] = edge.abstain_below
    if edge.at_most is not None:
        spec["at_most"] = edge.at_most
    if edge.then is not None:
        spec["then"] = edge.then
    if not spec:
        return str(edge)
    return {str(edge): "otherwise" if spec == {"otherwise": True} else spec}
