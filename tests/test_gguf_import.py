"""The conversion of a GGUF file: the same weights bit for bit, and the same tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from intrinsics.checkpoint import packaged_model, resolve
from intrinsics.errors import BaseModelError
from intrinsics.gguf_import import convert, unpermuted
from tiny_gguf import gguf_order, original_weights, write_gguf


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny GGUF file."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    return path


def converted(source: Path, tmp_path: Path) -> Path:
    """The directory a GGUF file was converted into."""
    target = tmp_path / "converted"
    target.mkdir(exist_ok=True)
    convert(source, target, "tiny", lambda _, __: None)
    return target


def test_conversion_gives_back_the_original_weights_bit_for_bit(
    source: Path, tmp_path: Path
) -> None:
    weights = load_file(converted(source, tmp_path) / "model.safetensors")
    original = original_weights()
    assert weights.keys() == original.keys()
    for name, weight in original.items():
        np.testing.assert_array_equal(weights[name], weight, err_msg=name)


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

    directory = converted(source, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.decode(tokenizer("the 12 \u00e9")["input_ids"]) == "the 12 \u00e9"
    assert tokenizer("<|im_start|>")["input_ids"] == [1]
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_unsupported_gguf_is_refused_by_what_is_unsupported(source: Path, tmp_path: Path) -> None:
    write_gguf(source, architecture="qwen3")
    with pytest.raises(BaseModelError, match="a GGUF of 'qwen3'"):
        converted(source, tmp_path)
    write_gguf(source, pre="qwen2")
    with pytest.raises(BaseModelError, match="pre-tokenizer 'qwen2'"):
        converted(source, tmp_path)


def test_corrupt_file_is_named_with_the_remedy(source: Path, tmp_path: Path) -> None:
    for content in (b"", b"not a GGUF file at all", source.read_bytes()[:-1000]):
        source.write_bytes(content)
        with pytest.raises(BaseModelError, match=r"tiny\.gguf: not a GGUF file .*reinstall"):
            converted(source, tmp_path)


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
    assert tokenizer("2024")["input_ids"] == [tokenizer(digit)["input_ids"][0] for digit in "2024"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
