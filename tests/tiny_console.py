"""A tiny model, intrinsics and a chain on disk: for the console, in this process or another."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

from chains.console import Session, Settings
from conftest import tiny_tokenizer, write_intrinsic
from intrinsics.catalogue import Catalogue
from intrinsics.engine import Engine
from intrinsics.model import Model
from tiny_networks import tiny_network

CHAIN = """\
chain: tiny_chat
nodes:
  screen: {check: mood}
  reply: {turn: {max_tokens: MAX_TOKENS, temperature: 1.0, seed: 7}}
  sure: {check: right}
flow:
  - start -> screen
  - screen -> reply
  - reply -> sure
  - sure -> end
"""
LONG = CHAIN.replace("MAX_TOKENS, temperature: 1.0", "7000, temperature: 0")
ABSTAINS = """\
chain: tiny_abstains
nodes:
  reply: {turn: {max_tokens: 6, temperature: 1.0, seed: 7}}
  sure: {check: right}
  unsure: {say: I do not know.}
flow:
  - start -> reply
  - reply -> sure
  - sure -> unsure: {abstain_below: 0.999999}
  - sure -> end: otherwise
  - unsure -> end
"""


@dataclass(frozen=True)
class Tiny:
    """Where things lie, and a loaded engine."""

    folder: Path
    engine: Engine

    @property
    def arguments(self) -> list[str]:
        """What makes `chains demo` use them."""
        chain, model = self.folder / "chat.yaml", self.folder / "model"
        intrinsics = self.folder / "intrinsics"
        return [
            *("demo", "--no-tour", "--chain", str(chain)),
            *("--model", str(model), "--intrinsics", str(intrinsics)),
        ]


def build(folder: Path) -> Tiny:
    """Write all files. Its context holds some turns, at one token a byte."""
    network, tokenizer, intrinsics = tiny_network(), tiny_tokenizer(), folder / "intrinsics"
    network.lm_head.weight.data[tokenizer.eos_token_id] = 0  # so a greedy reply never ends itself
    made = Engine(Model(network), tokenizer, Catalogue())
    write_intrinsic(made, intrinsics, "mood", ("bad", "good"), seed=1)
    write_intrinsic(
        *(made, intrinsics, "right", ("correct", "incorrect")),
        last="assistant",
        kind="probability",
        seed=2,
    )
    network.save_pretrained(folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text())
    config["max_position_embeddings"] = 8192
    (folder / "model" / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder / "model")
    (folder / "chat.yaml").write_text(CHAIN.replace("MAX_TOKENS", "12"))
    (folder / "long.yaml").write_text(LONG)
    (folder / "abstains.yaml").write_text(ABSTAINS)
    return Tiny(folder, Engine.load(folder / "model", folders=[intrinsics]))


def talk(tiny: Tiny, *entries: str, chain: str = "chat.yaml") -> str:
    """What a session prints for these entries, one a line."""
    out = io.StringIO()
    source = io.StringIO("".join(f"{entry}\n" for entry in entries))
    state, chosen = tiny.folder / "state", str(tiny.folder / chain)
    Session(tiny.engine, Settings(state, chosen), source, out).talk()
    return out.getvalue()
