"""The YAML spelling of a chain: read into the model, with a place for every part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from intrinsics.errors import DefinitionError, Fault
from intrinsics.located import Loc, nearest, parse, unknown

from .bodies import EDGE_KEYS, NodeReader, Values
from .errors import ChainDefinitionError, InputError
from .files import Files
from .model import ERRORS, Budget, ChainModel, Edge, Field_, RunBudget
from .places import EdgePlace, YamlPlaces

_KEYS = (
    *("chain", "version", "description", "system", "input"),
    *("nodes", "flow", "output", "budget"),
)
_EDGE = re.compile(r"\s*(\S+)\s*->\s*(\S+)\s*")


def read(text: str, file: str, files: Files | None = None) -> tuple[ChainModel, YamlPlaces]:
    """The model that a YAML text spells. Raises: ChainDefinitionError: with every fault found.

    A sub-chain may be named by its file, relative to this one; it is read with it. `files` are
    those that the chain may name; without them any.
    """
    model, places, faults = survey(text, file, files or Files())
    if faults:
        raise ChainDefinitionError(faults)
    return model, places


def survey(
    text: str, file: str, files: Files, within: tuple[Path, ...] = ()
) -> tuple[ChainModel, YamlPlaces, list[Fault]]:
    """`read`, but with faults by which no part of the model is lost: more may be found in it.

    `within` are the files that this one is a part of, itself included.
    Raises: ChainDefinitionError: a part is lost, or the whole.
    """
    try:
        source = parse(text, file)
    except DefinitionError as error:
        raise ChainDefinitionError(error.faults) from None
    reader = _Reader(Values(source), (), files, within or (Path(file).absolute(),))
    model = reader.model()
    if not reader.values.whole or model is None:
        raise ChainDefinitionError(reader.values.faults)
    return model, reader.places(), reader.values.faults


class _Reader:
    """Reads the chain that stands at `prefix` in a file."""

    def __init__(self, values: Values, prefix: Loc, files: Files, within: tuple[Path, ...]) -> None:
        self.values, self.prefix, self.files, self.within = values, prefix, files, within
        self.edges: list[EdgePlace] = []
        self.subs: dict[Loc, YamlPlaces] = {}
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
            self._fault((), "missing key 'chain': the name of the chain")
        head = {k: data[k] for k in ("version", "description", "system", "output") if k in data}
        head |= {"name": data.get("chain", "unnamed")}
        parts: dict[str, Any] = {
            "input": self._mapping(data, "input", self._input),
            "nodes": self._mapping(data, "nodes", self.nodes.node),
            "flow": self._flow(data.get("flow")),
        }
        if "budget" in data:
            parts["budget"] = self._budget((*self.prefix, "budget"), data["budget"], RunBudget)
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

    def _mapping(self, data: Mapping[str, Any], key: str, one: Any) -> dict[str, Any]:
        value = data.get(key) or {}
        if not isinstance(value, dict):
            self._fault((key,), f"{key} must map names to what they are")
            return {}
        built = {str(k): one((*self.prefix, key, k), part) for k, part in value.items()}
        return {name: part for name, part in built.items() if part is not None}

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
            return model
        try:
            path = self._file(value)
            if path.absolute() in self.within:
                line = " -> ".join(one.name for one in (*self.within, path))
                self.values.fault(loc, f"a chain can't contain itself: {line}")
                return None
            text = path.read_text(encoding="utf-8")
            within = (*self.within, path.absolute())
            model, self.subs[at], faults = survey(text, str(path), self.files, within)
            self.values.faults += faults
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

    def _flow(self, items: Any) -> tuple[Edge, ...]:
        if not isinstance(items, list) or not items:
            self._fault(("flow",), "flow lists edges such as 'start -> reply'")
            return ()
        edges = (self._edge((*self.prefix, "flow", i), item) for i, item in enumerate(items))
        return tuple(edge for edge in edges if edge is not None)

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
        self.edges.append(EdgePlace(loc, match.start(1), match.start(2)))
        known = {key: value for key, value in parts.items() if key in Edge.model_fields}
        edge: Edge | None = self.values.built(Edge, loc, known)
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
