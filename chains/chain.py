"""A checked chain: from YAML or Python, to a run, a drawing, or YAML again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from intrinsics.catalogue import Catalogue
from intrinsics.errors import Fault
from intrinsics.library import library_path
from intrinsics.located import unknown

from . import drawing
from .checking import faults_of
from .dumper import to_yaml
from .errors import ChainDefinitionError, InputError
from .files import Files
from .functions import Callables, allowed
from .inputs import RunInput
from .loader import survey
from .lost import NOTHING, Lost
from .model import END, START, BestOf, ChainModel, Edge, Turn
from .places import Places
from .plan import Plan

if TYPE_CHECKING:
    from intrinsics.conversation import Conversation
    from intrinsics.engine import Engine

    from .events import Event
    from .runner import Answer, RunResult
    from .testing import Script


class Chain:
    """A model that was found free of faults. Two chains are equal if their models are."""

    def __init__(
        self,
        model: ChainModel,
        places: Places,
        catalogue: Catalogue | None = None,
        functions: Callables | None = MappingProxyType({}),
        files: Files | None = None,
        faults: Iterable[Fault] = (),
        lost: Lost = NOTHING,
    ) -> None:
        """Check a model. Raises: ChainDefinitionError: with every fault, each at its place.

        `functions` are those it may call, by name; None leaves calls unchecked, and a run of one
        fails. `files` are those it may read; without them any. `faults` were found before, and by
        them some parts were `lost`.
        """
        self.model, self.files = model, files or Files()
        self.functions: Callables = functions or {}
        self._places, self.catalogue = places, catalogue or Catalogue()
        found = [*faults, *faults_of(model, places, self.catalogue, functions, lost)]
        if found:
            raise ChainDefinitionError(found)

    @cached_property
    def plan(self) -> Plan:
        """The model made ready for runs."""
        return Plan(self.model, self.functions, self.files)

    @staticmethod
    def load(
        source: str | Path,
        *,
        catalogue: Catalogue | None = None,
        functions: Iterable[Callable[..., Any]] | None = (),
        allow: Iterable[Path | str] = (),
    ) -> Chain:
        """Read a YAML file, or a shipped chain by its name.

        `functions` are all that the file may call; None lets it name any, unchecked, for a chain
        that is only looked at. Nothing in it is run by reading it. What it names (sub-chains, and
        folders to retrieve from) lies under its folder, or in a folder of `allow`.
        Raises: ChainDefinitionError: it is wrong; InputError: there is no such file or name.
        """
        path = find(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        files = Files(path.absolute().parent, tuple(map(Path, allow)))
        model, places, faults, lost = survey(text, str(path), files)
        calls = None if functions is None else allowed(functions)
        return Chain(model, places, catalogue, calls, files, faults, lost)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chain) and self.model == other.model

    def __repr__(self) -> str:
        return f"<Chain {self.name}: {', '.join(self.model.nodes)}>"

    def __hash__(self) -> int:
        return hash(self.to_yaml())

    @property
    def name(self) -> str:
        """The chain's own name."""
        return self.model.name

    def to_yaml(self) -> str:
        """The YAML spelling; reads back to an equal chain."""
        return self._yaml

    @cached_property
    def _yaml(self) -> str:
        return to_yaml(self.model)

    def alone(self, node: str) -> Chain:
        """The chain that is one of its nodes: from the start to it, and to the end.

        Raises: InputError: no such node; ChainDefinitionError: it reads what others leave.
        """
        if node not in self.model.nodes:
            raise InputError(f"{self.name}: {unknown('node', node, self.model.nodes)}")
        flow = (Edge(source=START, target=node), Edge(source=node, target=END))
        kept = {
            "nodes": {node: self.model.nodes[node]},
            "flow": flow,
            "output": None,
            "budget": None,
        }
        model = self.model.model_copy(update=kept)
        return Chain(model, self._places, self.catalogue, self.functions, self.files)

    def with_prompts(self, prompts: Mapping[str, str]) -> Chain:
        """The same chain with other prompts of turns, by the names of their nodes.

        Raises: InputError: no such node, or one without a turn; ChainDefinitionError: a fault in
        a prompt.
        """
        nodes = dict(self.model.nodes)
        for name, text in prompts.items():
            node = nodes.get(name)
            if node is None:
                raise InputError(f"{self.name}: {unknown('node', name, nodes)}")
            edited: dict[str, Any]
            match node:
                case Turn():
                    edited = {"prompt": text}
                case BestOf():
                    edited = {"turn": node.turn.model_copy(update={"prompt": text})}
                case _:
                    raise InputError(
                        f"{self.name}: {name} is a {node.kind} node, which has no prompt; a turn "
                        "and best_of have one"
                    )
            if not text.strip():
                raise InputError(f"{self.name}: the prompt of {name} is empty; give it text")
            nodes[name] = node.model_copy(update=edited)
        model = self.model.model_copy(update={"nodes": nodes})
        return Chain(model, self._places, self.catalogue, self.functions, self.files)

    def mermaid(self) -> str:
        """A drawing in Mermaid's syntax."""
        return drawing.mermaid(drawing.picture(self.model))

    def dot(self) -> str:
        """A drawing in Graphviz's language."""
        return drawing.dot(drawing.picture(self.model))

    def svg(self) -> str:
        """A drawing as an SVG file, complete by itself."""
        return drawing.svg(drawing.layout(drawing.picture(self.model)))

    def ascii(self, *, plain: bool = False) -> str:
        """A drawing for a terminal, in box-drawing characters or, `plain`, in ASCII alone."""
        return drawing.ascii_art(drawing.layout(drawing.picture(self.model)), plain=plain)

    def run(
        self,
        engine: Engine | Script | None,
        given: RunInput,
        conversation: Conversation | None = None,
    ) -> RunResult:
        """Run it to the end; without turns and checks it needs no engine.

        Raises: ChainRunError, InputError.
        """
        from .runner import run_sync  # the engine's modules, which reading a chain does not need

        return run_sync(self, engine, given, conversation)

    async def arun(
        self,
        engine: Engine | Script | None,
        given: RunInput,
        conversation: Conversation | None = None,
        answer: Answer | None = None,
    ) -> RunResult:
        """`run`, for code with an event loop; `answer` serves ask nodes."""
        from .runner import run  # as above

        return await run(self, engine, given, conversation, answer)

    def stream(
        self,
        engine: Engine | Script | None,
        given: RunInput,
        conversation: Conversation | None = None,
        answer: Answer | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Run it and tell what happens. Raises: ChainRunError, InputError."""
        from .runner import Run  # as above

        return Run(self, engine, given, conversation, answer).events()


def shipped() -> Sequence[str]:
    """The names of the chains that come along."""
    return sorted(path.stem for path in (library_path() / "chains").glob("*.yaml"))


def find(source: str | Path) -> Path:
    """The file of a chain. Raises: InputError: neither a file nor a shipped name."""
    path = Path(source)
    named = library_path() / "chains" / f"{source}.yaml"
    try:
        path = path.expanduser()
        if path.is_file():
            return path
        if named.is_file():
            return named
    except (OSError, ValueError, RuntimeError) as error:  # too long, or a home that is not there
        raise InputError(f"{source}: no name of a file ({error})") from error
    if path.suffix:
        raise InputError(f"{source}: there is no such file")
    raise InputError(f"{unknown('chain', str(source), shipped())}; or give a file")
