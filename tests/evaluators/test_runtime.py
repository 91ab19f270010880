"""llama.cpp through our runtime: batch shapes, splits, BOS, bad input. Models of random weights."""

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluators.errors import ModelLoadError, SettingsError, TextError, TokenizerError
from evaluators.perplexity import measure_perplexity
from evaluators.runtime import Runtime, engine_info, start_backend, tokenize
from evaluators.settings import RuntimeSettings
from evaluators.targets import targets_of
from tests.evaluators.conftest import SETTINGS
from tests.models import tiny_model


def all_logits(
    path: Path, tokens: NDArray[np.int32], settings: RuntimeSettings, chunks: list[int]
) -> NDArray[np.float32]:
    """[chunks, scored tokens, n_vocab]"""
    found: dict[int, list[NDArray[np.float32]]] = {chunk: [] for chunk in chunks}
    with Runtime([path], settings) as runtime:
        for step in runtime.decode(tokens, chunks):
            assert step.first_row == sum(len(part) for part in found[step.chunk])
            found[step.chunk].append(step.logits.copy())
    return np.stack([np.concatenate(found[chunk]) for chunk in chunks])


def test_every_batch_shape_scores_the_same_positions(tiny: Path, text: Path) -> None:
    tokens = tokenize([tiny], text).tokens
    expected = all_logits(tiny, tokens, SETTINGS, [0, 1, 2, 3, 4])
    assert expected.shape == (5, 31, 267)
    for batch_size in (64, 16, 24, 320):
        settings = replace(SETTINGS, batch_size=batch_size, ubatch_size=16)
        np.testing.assert_allclose(all_logits(tiny, tokens, settings, [0, 1, 2, 3, 4]), expected, atol=2e-2)


def test_chunks_come_in_the_order_asked_for(tiny: Path, text: Path) -> None:
    tokens = tokenize([tiny], text).tokens
    every = all_logits(tiny, tokens, SETTINGS, list(range(8)))
    np.testing.assert_allclose(all_logits(tiny, tokens, SETTINGS, [6, 1, 4]), every[[6, 1, 4]], atol=2e-2)


def test_targets_are_the_next_tokens(tiny: Path, text: Path) -> None:
    tokens = tokenize([tiny], text).tokens
    with Runtime([tiny], SETTINGS) as runtime:
        for step in runtime.decode(tokens, [2]):
            np.testing.assert_array_equal(targets_of(tokens, SETTINGS, step), tokens[2 * 64 + 33 : 3 * 64])


def test_a_split_loads_by_its_first_file_and_as_a_list(text: Path, tmp_path: Path) -> None:
    first = tiny_model(tmp_path, n_layer=2, splits=3, name="parts")
    parts = sorted(tmp_path.glob("parts-*.gguf"))
    renamed = [part.rename(tmp_path / f"shard{number}") for number, part in enumerate(parts)]
    with Runtime(renamed, SETTINGS) as runtime:
        logits = next(iter(runtime.decode(tokenize(renamed, text).tokens, [0]))).logits.copy()
    for part, name in zip(renamed, parts, strict=True):
        part.rename(name)
    with Runtime([first], SETTINGS) as runtime:
        again = next(iter(runtime.decode(tokenize([first], text).tokens, [0]))).logits.copy()
    np.testing.assert_array_equal(logits, again)


def test_the_first_token_of_a_chunk_is_replaced_by_bos(
    tiny: Path, text: Path, patched: Callable[[Path, bytes, bytes], Path]
) -> None:
    key = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little")
    with_bos = patched(tiny, key + b"\0", key + b"\1")
    plain, added = tokenize([tiny], text), tokenize([with_bos], text)
    assert len(added) == len(plain) + 1
    bos = int(added.tokens[0])
    tokens = plain.tokens.copy()
    replaced = all_logits(with_bos, tokens, SETTINGS, [0, 1, 2])
    assert (tokens == plain.tokens).all()
    tokens[::64] = bos
    np.testing.assert_array_equal(replaced, all_logits(tiny, tokens, SETTINGS, [0, 1, 2]))


def test_eos_at_the_end_of_every_text_is_refused(
    tiny: Path, text: Path, patched: Callable[[Path, bytes, bytes], Path]
) -> None:
    old = b"tokenizer.ggml.add_bos_token" + (7).to_bytes(4, "little") + b"\0"
    adds_eos = patched(tiny, old, b"tokenizer.ggml.add_eos_token" + (7).to_bytes(4, "little") + b"\1")
    with pytest.raises(TokenizerError, match="EOS"):
        tokenize([adds_eos], text)


def test_perplexity_of_random_weights_is_near_the_vocabulary(tiny: Path, text: Path) -> None:
    tokens = tokenize([tiny], text).tokens
    seen: list[tuple[int, int]] = []
    with Runtime([tiny], SETTINGS) as runtime:
        found = measure_perplexity(runtime, tokens, [0, 1, 2, 3], lambda done, total: seen.append((done, total)))
    logits = all_logits(tiny, tokens, SETTINGS, [0, 1, 2, 3]).astype(np.float64)
    targets = np.stack([tokens[chunk * 64 + 33 : (chunk + 1) * 64] for chunk in range(4)])
    nll = np.log(np.exp(logits).sum(axis=2)) - np.take_along_axis(logits, targets[:, :, None], axis=2)[:, :, 0]
    assert found.tokens == 4 * 31
    assert found.value == pytest.approx(np.exp(nll.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(found.value * nll.std() / np.sqrt(4 * 31 - 1), rel=1e-6)
    assert found.chunk_nll == pytest.approx(nll.mean(axis=1), rel=1e-6)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_text_loses_one_newline_as_with_minus_f(tiny: Path, tmp_path: Path) -> None:
    for name, content in (("none", "and so"), ("one", "and so\n"), ("two", "and so\n\n")):
        (tmp_path / name).write_text(content)
    none, one, two = (tokenize([tiny], tmp_path / name) for name in ("none", "one", "two"))
    assert none.tokens.tolist() == one.tokens.tolist()
    assert len(two) == len(one) + 1
    assert none.sha256 != one.sha256


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"\n", "empty"), (b"caf\xe9 au lait", "not UTF-8 .byte 3")]
)
def test_texts_that_cannot_be_used(tiny: Path, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(TextError, match=message):
        tokenize([tiny], path)
    with pytest.raises(TextError, match="cannot be read"):
        tokenize([tiny], tmp_path / "nothing")


def test_a_model_without_a_tokenizer_is_named(text: Path, tmp_path: Path) -> None:
    path = tiny_model(tmp_path, n_layer=1, tokenizer=False, name="mute")
    with pytest.raises(TokenizerError, match=r"mute\.gguf has no tokenizer"):
        tokenize([path], text)


def test_files_that_are_no_models(tiny: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        Runtime([tmp_path / "nothing.gguf"], SETTINGS)
    with pytest.raises(ModelLoadError, match="does not load"):
        Runtime([text], SETTINGS)
    with pytest.raises(ModelLoadError, match="no model file"):
        Runtime([], SETTINGS)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-5000])
    with pytest.raises(ModelLoadError, match=r"(?s)cut\.gguf.*bounds"):
        Runtime([cut], SETTINGS)


def test_too_many_chunks_in_a_batch_are_refused(tiny: Path) -> None:
    with pytest.raises(SettingsError, match="at once"):
        Runtime([tiny], RuntimeSettings(ctx_size=4, batch_size=4096))


@pytest.mark.parametrize(
    "changes",
    [
        {"flash_attn": "on", "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
        {"flash_attn": "off"},
        {"use_extra_bufts": False},
        {"rope_scaling": "yarn", "yarn_orig_ctx": 64, "rope_freq_scale": 0.5},
        {"rope_freq_base": 50_000.0},
    ],
)
def test_settings_reach_llama_cpp(tiny_q4: Path, text: Path, changes: dict[str, object]) -> None:
    tokens = tokenize([tiny_q4], text).tokens
    plain = all_logits(tiny_q4, tokens, SETTINGS, [0])
    changed = all_logits(tiny_q4, tokens, replace(SETTINGS, **changes), [0])  # type: ignore[arg-type]
    difference = float(np.abs(plain - changed).max())
    assert 0.0 < difference < 30.0


def test_the_engine_is_named_and_open_files_are_allowed(capfd: pytest.CaptureFixture[str]) -> None:
    start_backend()
    engine = engine_info()
    assert "llama-cpp-python" in engine.version
    assert engine.devices[0].startswith("CPU")
    assert len(engine.library_sha256) == 64
    assert len(engine.identity) == 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else soft >= 65_536


def test_llama_cpp_prints_nothing(tiny: Path, text: Path, capfd: pytest.CaptureFixture[str]) -> None:
    all_logits(tiny, tokenize([tiny], text).tokens, SETTINGS, [0])
    with pytest.raises(ModelLoadError):
        Runtime([text], SETTINGS)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
