"""A chain's model written as YAML: short spellings where they say everything."""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from .bodies import EDGE_KEYS, SHORT
from .expression import Constant, Operand
from .model import (
    LIMITS,
    BestOf,
    Budget,
    ChainModel,
    Check,
    Edge,
    Field_,
    Function,
    Map,
    Node,
    Parallel,
    SubChain,
)


class _Representer(SafeRepresenter):
    """Quotes a text that begins as YAML's signs for keys do: ruamel leaves it plain."""

    def represent_str(self, data: str) -> Any:
        style = "'" if data.startswith(("?", ":")) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(model: ChainModel) -> str:
    """YAML that reads back to an equal model."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    out = StringIO()
    yaml.dump(_chain(model), out)
    return out.getvalue()


def _chain(model: ChainModel) -> dict[str, Any]:
    data: dict[str, Any] = {"chain": model.name, "version": model.version}
    for key in ("description", "system"):
        if getattr(model, key) is not None:
            data[key] = getattr(model, key)
    if model.input:
        data["input"] = {name: _input(field) for name, field in model.input.items()}
    if model.budget is not None:
        data["budget"] = model.budget.model_dump(exclude_defaults=True)
    data["nodes"] = {name: _node(node) for name, node in model.nodes.items()}
    data["flow"] = [_edge(edge) for edge in model.flow]
    if model.output is not None:
        data["output"] = model.output
    return data


def _input(field: Field_) -> Any:
    return field.type if field.default is None else field.model_dump()


def _node(node: Node) -> dict[str, Any]:
    return {node.kind: _values(node), **_limits(node)}


def _limits(node: Node) -> dict[str, Any]:
    limits = node.model_dump(include=set(LIMITS), exclude_defaults=True)
    if list(limits.get("retry", ())) == ["times"]:
        limits["retry"] = limits["retry"]["times"]
    return limits


def _values(node: Node) -> Any:
    if isinstance(node, Check):
        if any(node.intrinsics.values()):
            return node.intrinsics
        names = list(node.intrinsics)
        return names[0] if len(names) == 1 else names
    given = _plain(node)
    short = SHORT.get(node.kind)
    if not given:
        return None
    return given[short] if short and list(given) == [short] else given


def _plain(node: Node) -> dict[str, Any]:
    """The values that are not their defaults; nodes and names inside it as they are spelled."""
    inside = {"arguments", "branches", "do", "over", "judge", "by", "turn", "of"}
    given = node.model_dump(exclude_defaults=True, exclude={*LIMITS, *inside}, mode="json")
    match node:
        case Function(arguments=arguments) | SubChain(arguments=arguments):
            if isinstance(node, SubChain):
                given["of"] = _chain(node.of)
            if arguments:
                given["arguments"] = {name: _operand(one) for name, one in arguments.items()}
        case Parallel():
            given["branches"] = {name: _node(one) for name, one in node.branches.items()}
        case Map():
            given |= {"over": str(node.over), "do": _node(node.do)}
        case BestOf():
            given |= {
                "turn": {**_plain(node.turn), **_limits(node.turn)},
                "judge": _node(node.judge),
            }
            if node.by != BestOf.model_fields["by"].default:
                given["by"] = str(node.by)
        case _:
            pass
    return given


def _operand(operand: Operand) -> Any:
    """Text is an expression, so a literal text keeps its quotes."""
    if isinstance(operand, Constant) and not isinstance(operand.value, str):
        return operand.value
    return str(operand)


def _edge(edge: Edge) -> Any:
    spec: dict[str, Any] = {}
    for key in EDGE_KEYS:
        value = getattr(edge, key)
        if isinstance(value, Budget):
            value = value.model_dump(exclude_defaults=True)
        elif key in ("when", "until", "best") and value is not None:
            value = str(value)
        elif key == "on_error":
            value = value[0] if len(value) == 1 else list(value)
        if value:
            spec[key] = value
    if not spec:
        return str(edge)
    return {str(edge): "otherwise" if spec == {"otherwise": True} else spec}
