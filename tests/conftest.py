"""Fixtures: tiny random models for exact equality, and one loaded engine for behaviour."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from intrinsics.adapter import Adapter, LowRank
from intrinsics.catalogue import Catalogue
from intrinsics.checkpoint import resolve
from intrinsics.engine import Engine
from intrinsics.model import Model
from tiny_networks import SIZES as SIZES
from tiny_networks import tiny_network as tiny_network

# No timed assertion: a busy machine is not a fault.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """One token for each byte, and the control tokens of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    controls = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in controls])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", chat_template=chat_template
    )


def random_adapter(
    model: Model,
    rank: int = 4,
    seed: int = 0,
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
    invocation: tuple[int, ...] | None = (1, 2),
) -> Adapter:
    """An adapter with random weights for every targeted linear layer of a model."""
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for name, module in model.network.named_modules():
        if name.endswith(targets) and isinstance(module, torch.nn.Linear):
            a = torch.randn(rank, module.in_features, generator=generator) * 0.2
            b = torch.randn(module.out_features, rank, generator=generator) * 0.2
            modules[name] = LowRank(a, b, 16 / rank)
    return Adapter(modules, invocation, "tiny", 16, model.fingerprint)


def write_intrinsic(
    engine: Engine,
    folder: Path,
    name: str,
    labels: Sequence[str] = ("yes", "no"),
    *,
    last: str = "user",
    documents: str = "none",
    instruction: str = "",
    place: str = "before",
    rank: int = 4,
    seed: int = 0,
    activated: bool = True,
    kind: str = "enum",
    writes: int = 0,
) -> Path:
    """Write a definition directory with a random adapter; return it.

    With `writes` it gives no label but text of at most so many tokens.
    """
    directory = folder / name
    directory.mkdir(parents=True)
    invocation = f"<|im_start|>{name}\n"
    lines = [
        f"name: {name}",
        "version: 1",
        "judges: Something.",
        f"reads: {{last: {last}, documents: {documents}}}",
        f'invocation: "<|im_start|>{name}\\n"',
        f"output: {{type: text, max_tokens: {writes}}}"
        if writes
        else f"output: {{type: {kind}, labels: {list(labels)!r}, positive: {labels[0]!r}}}",
        "base_model: tiny",
    ]
    if instruction:
        (directory / "instruction.j2").write_text(instruction)
        lines += ["instruction: instruction.j2", f"instruction_place: {place}"]
    (directory / "intrinsic.yaml").write_text("\n".join(lines) + "\n")
    ids = tuple(engine.chat.control(invocation))
    adapter = random_adapter(engine.model, rank, seed, invocation=ids if activated else None)
    adapter.save(directory / "adapter")
    return directory


def tiny_engine(architecture: str = "llama", folders: Sequence[Path] = ()) -> Engine:
    """An engine on a tiny random model with one token for each byte."""
    return Engine(Model(tiny_network(architecture)), tiny_tokenizer(), Catalogue(folders))


def check_integrity(engine: Engine) -> None:
    """Once the engine has nothing to do: nobody holds anything, and the tree is consistent."""
    deadline = time.monotonic() + 60
    while (stats := engine.stats()).active or stats.waiting:
        assert time.monotonic() < deadline, f"the engine does not come to rest: {stats}"
        time.sleep(0.001)
    engine.model.tree.check_integrity()


@pytest.fixture
def tiny_intrinsics(tmp_path: Path) -> Callable[[str], Engine]:
    """An engine of an architecture with three random intrinsics: short, long and many labels."""

    def build(architecture: str = "llama") -> Engine:
        folder = tmp_path / "intrinsics"
        engine = tiny_engine(architecture)
        write_intrinsic(engine, folder, "short", rank=2, seed=1)
        write_intrinsic(
            engine,
            folder,
            "long",
            ("first", "second", "second half"),
            instruction="{{ messages[-1].content }}?",
            rank=8,
            seed=2,
        )
        write_intrinsic(engine, folder, "after", instruction="Is it so?", place="after", seed=4)
        write_intrinsic(engine, folder, "many", [str(i) for i in range(12)], rank=4, seed=3)
        engine.catalogue = Catalogue([folder])
        return engine

    return build


@pytest.fixture(params=["llama", "qwen3", "granite"])
def architecture(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The packaged base model with the shipped intrinsics, loaded once for all slow tests."""
    return Engine.load()


@pytest.fixture(scope="session")
def plain_network() -> Any:
    """The same weights as transformers runs them, with its own attention."""
    network = AutoModelForCausalLM.from_pretrained(
        resolve(), dtype=torch.float32, local_files_only=True
    )
    network.train(False)
    return network
