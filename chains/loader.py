"""The YAML spelling of a chain: read into the model, with a place for every part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from intrinsics.errors import DefinitionError, Fault
from intrinsics.located import Loc, nearest, parse, unknown

from .bodies import EDGE_KEYS, NodeReader, Values
from .errors import ChainDefinitionError, InputError
from .files import Files
from .lost import NOTHING, Lost
from .model import ERRORS, Budget, ChainModel, Edge, Field_, Node, RunBudget, Say
from .places import EdgePlace, YamlPlaces

_KEYS = (
    *("chain", "version", "description", "system", "input"),
    *("nodes", "flow", "output", "budget"),
)
_PART = TypeVar("_PART")
_EDGE = re.compile(r"\s*(\S+)\s*->\s*(\S+)\s*")
_STAND_IN: Node = Say(text="?")
"""Is where a node was lost: of such a one nothing is looked at but its name."""


def read(text: str, file: str, files: Files | None = None) -> tuple[ChainModel, YamlPlaces]:
    """The model that a YAML text spells. Raises: ChainDefinitionError: with every fault found.

    A sub-chain may be named by its file, relative to this one; it is read with it. `files` are
    those that the chain may name; without them any.
    """
    found = survey(text, file, files or Files())
    if found.faults:
        raise ChainDefinitionError(found.faults)
    return found.model, found.places


class Survey(NamedTuple):
    """A chain as far as it could be read, what is wrong with it, and what that cost."""

    model: ChainModel
    places: YamlPlaces
    faults: list[Fault]
    lost: Lost


def survey(text: str, file: str, files: Files, within: tuple[Path, ...] = ()) -> Survey:
    """`read`, but with its faults: more may be found in what could be read.

    `within` are the files that this one is a part of, itself included.
    Raises: ChainDefinitionError: too much is lost.
    """
    try:
        source = parse(text, file)
    except DefinitionError as error:
        raise ChainDefinitionError(error.faults) from None
    reader = _Reader(Values(source), (), files, within or (Path(file).absolute(),))
    model = reader.model()
    if not reader.values.whole or model is None:
        raise ChainDefinitionError(reader.values.faults)
    return Survey(model, reader.places(), reader.values.faults, reader.lost)


class _Reader:
    """Reads the chain that stands at `prefix` in a file."""

    def __init__(self, values: Values, prefix: Loc, files: Files, within: tuple[Path, ...]) -> None:
        self.values, self.prefix, self.files, self.within = values, prefix, files, within
        self.edges: list[EdgePlace] = []
        self.subs: dict[Loc, YamlPlaces] = {}
        self.lost = NOTHING
        self.nodes = NodeReader(values, self._sub, self._folder)

    def places(self) -> YamlPlaces:
        """Where everything stands that was read."""
        return YamlPlaces(self.values.source, tuple(self.edges), self.prefix, self.subs)

    def model(self) -> ChainModel | None:
        data = self.values.source.at(self.prefix)
        if not isinstance(data, dict):
            self._fault((), "must be a mapping that begins with 'chain:'")
            return None
        for key in data:
            if key not in _KEYS:
                message, meant = unknown("key", str(key), _KEYS), nearest(str(key), _KEYS)
                whole = meant not in ("input", "nodes", "flow")
                self.values.fault((*self.prefix, key), message, key=True, whole=whole)
        if "chain" not in data:
            message = "missing key 'chain': the name of the chain"
            self.values.fault(self.prefix, message, whole=True)
        head = {k: data[k] for k in ("version", "description", "system", "output") if k in data}
        head |= {"name": data.get("chain", "unnamed")}
        inputs, lost_inputs = self._mapping(data, "input", self._input)
        nodes, lost_nodes = self._mapping(data, "nodes", self.nodes.node)
        flow, flow_lost = self._flow(data.get("flow"))
        parts: dict[str, Any] = {
            "input": inputs | {name: Field_(type="str") for name in lost_inputs},
            "nodes": {**nodes, **{name: _STAND_IN for name in lost_nodes}},
            "flow": flow,
        }
        if "budget" in data:
            place = (*self.prefix, "budget")
            budget, lost = self._apart(lambda: self._budget(place, data["budget"], RunBudget))
            parts["budget"] = budget
            flow_lost = flow_lost or lost
        self.lost = Lost(frozenset(lost_inputs), frozenset(lost_nodes), flow_lost)
        try:
            return ChainModel(**head, **parts)
        except ValidationError as error:
            self.values.faults += [self._renamed(dict(one)) for one in error.errors()]
        self.values.whole = False
        return None

    def _renamed(self, error: dict[str, Any]) -> Fault:
        loc = tuple("chain" if step == "name" else step for step in error["loc"])
        message = f"{error['msg']}; it is {error['input']!r}"
        return self.values.source.fault((*self.prefix, *loc), message)

    def _fault(self, loc: Loc, message: str) -> None:
        self.values.fault((*self.prefix, *loc), message)

    def _apart(self, one: Callable[[], _PART]) -> tuple[_PART, bool]:
        """A part, and whether it or something in it is lost; the rest is as whole as before."""
        before, self.values.whole = self.values.whole, True
        part = one()
        lost, self.values.whole = not self.values.whole or part is None, before
        return part, lost

    def _mapping(
        self, data: Mapping[str, Any], key: str, one: Callable[[Loc, Any], _PART | None]
    ) -> tuple[dict[str, _PART], list[str]]:
        """What stands under a key, by name, and the names of what is lost."""
        value = data.get(key) or {}
        if not isinstance(value, dict):
            self._fault((key,), f"{key} must map names to what they are")
            return {}, []
        found: dict[str, _PART] = {}
        names: list[str] = []
        for name, spec in value.items():
            part, lost = self._apart(partial(one, (*self.prefix, key, name), spec))
            if part is None or lost:
                names.append(str(name))
            else:
                found[str(name)] = part
        return found, names

    def _input(self, loc: Loc, value: Any) -> Field_ | None:
        spec = value if isinstance(value, dict) else {"type": value}
        field: Field_ | None = self.values.built(Field_, loc, spec)
        return field

    def _budget(self, loc: Loc, value: Any, kind: type[Budget]) -> Any:
        if not isinstance(value, dict):
            self.values.fault(loc, f"a budget is {{{', '.join(kind.model_fields)}}}")
            return None
        return self.values.built(kind, loc, value)

    def _sub(self, loc: Loc, value: Any) -> ChainModel | None:
        """A sub-chain, written out here or named by its file."""
        place = loc if loc[-1] != "of" else loc[:-1]
        at = place[len(self.prefix) :]
        if not isinstance(value, str):
            reader = _Reader(self.values, loc, self.files, self.within)
            model = reader.model()
            self.subs[at] = reader.places()
            self.values.whole &= not reader.lost
            return model
        try:
            path = self._file(value)
            if path.absolute() in self.within:
                line = " -> ".join(one.name for one in (*self.within, path))
                self.values.fault(loc, f"a chain can't contain itself: {line}")
                return None
            text = path.read_text(encoding="utf-8")
            within = (*self.within, path.absolute())
            model, self.subs[at], faults, lost = survey(text, str(path), self.files, within)
            self.values.faults += faults
            self.values.whole &= not lost
        except (InputError, OSError, UnicodeDecodeError) as error:
            self.values.fault(loc, str(error))
            return None
        except ChainDefinitionError as error:
            self.values.faults += error.faults
            self.values.whole = False
            return None
        return model

    def _file(self, value: str) -> Path:
        """The file of a sub-chain: beside this one, or one that comes along. Raises: InputError."""
        from .chain import find, shipped  # which reads by this module

        near = self.within[-1].parent / value
        if value in shipped() and not near.is_file():
            return find(value)
        self.files.find(value, self._below())
        path = near if near.is_file() else find(value)
        self.files.find(str(path.absolute()))
        return path

    def _below(self) -> str:
        """The folder of the file that is read, relative to that of the chain."""
        return self.files.relative(self.within[-1].parent)

    def _folder(self, loc: Loc, value: Any) -> Any:
        """A folder that is read, relative to the file that the chain is read from."""
        try:
            path = self.files.find(str(value), self._below())
            if self.files.folder is not None and not path.is_dir():
                self.values.fault(loc, f"there is no folder {value!r} in {path.parent}")
        except InputError as error:
            self.values.fault(loc, str(error))
        if len(self.within) == 1 or not isinstance(value, str) or Path(value).is_absolute():
            return value
        return (PurePath(self._below()) / value).as_posix()

    def _flow(self, items: Any) -> tuple[tuple[Edge, ...], bool]:
        """The edges, and whether one is lost, or a part of one."""
        if not isinstance(items, list) or not items:
            self.values.fault(
                (*self.prefix, "flow"), "flow lists edges such as 'start -> reply'", whole=True
            )
            return (), True
        read = [
            self._apart(partial(self._edge, (*self.prefix, "flow", i), item))
            for i, item in enumerate(items)
        ]
        edges = tuple(edge for edge, _ in read if edge is not None)
        return edges, any(lost for _, lost in read)

    def _edge(self, loc: Loc, item: Any) -> Edge | None:
        text, spec = item, None
        if isinstance(item, dict) and len(item) == 1:
            [(text, spec)] = item.items()
            loc = (*loc, text)
        match = _EDGE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            self.values.fault(loc, "an edge is 'source -> target', maybe with ': {when: ...}'")
            return None
        parts: dict[str, Any] = {"source": match[1], "target": match[2]}
        if spec == "otherwise":
            parts["otherwise"] = True
        elif isinstance(spec, dict):
            parts |= {key: self._edge_part(loc, key, value) for key, value in spec.items()}
        elif spec is not None:
            keys = ", ".join(EDGE_KEYS)
            self.values.fault(loc, f"after an edge comes 'otherwise' or {{{keys}}}")
            return None
        known = {key: value for key, value in parts.items() if key in Edge.model_fields}
        edge: Edge | None = self.values.built(Edge, loc, known)
        if edge is not None:
            self.edges.append(EdgePlace(loc, match.start(1), match.start(2)))
        return edge

    def _edge_part(self, loc: Loc, key: str, value: Any) -> Any:
        """`otherwise: true` is the long spelling beside at_most and then."""
        place = (*loc, key)
        if key in ("when", "until"):
            return self.values.condition(place, value)
        if key == "best":
            return self.values.ref(place, value)
        if key == "budget":
            return self._budget(place, value, Budget)
        if key == "on_error":
            return self._reasons(place, value)
        if key == "otherwise" and value is not True:
            self.values.fault(place, f"'otherwise' is true or not there; it is {value!r}")
        elif key not in EDGE_KEYS:
            self.values.fault(place, unknown("key", str(key), EDGE_KEYS), key=True)
        return value

    def _reasons(self, loc: Loc, value: Any) -> tuple[str, ...]:
        reasons = value if isinstance(value, list) else [value]
        known = ("any", *ERRORS)
        for reason in reasons:
            if reason not in known:
                self.values.fault(loc, unknown("reason to fail", str(reason), known))
        return tuple(reason for reason in reasons if reason in known)
