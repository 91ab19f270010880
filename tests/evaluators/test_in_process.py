"""Building references and scoring against them, without a child process."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluators.base_file import BaseFile
from evaluators.divergence import merge_scores
from evaluators.errors import DecodeError, EvaluationInputError, ReferenceDamaged, ReferenceMismatch, TextError
from evaluators.in_process import InProcessEvaluator
from evaluators.noise_floor import measure_noise_floor, other_shapes
from evaluators.reference import Reference
from evaluators.runtime import Runtime, tokenize
from evaluators.settings import RuntimeSettings
from tests.evaluators.conftest import SETTINGS
from tests.models import tiny_model


def test_a_model_against_its_own_reference_shows_no_divergence(
    evaluator: InProcessEvaluator, tiny: Path, reference: Path
) -> None:
    score = evaluator.score([tiny], reference, range(8))
    assert abs(score.mean_kld) <= 1e-6
    assert score.kld_percentiles["max"] <= 1e-5
    assert score.perplexity == pytest.approx(score.reference_perplexity, rel=1e-12)
    assert score.top1_agreement == 1.0
    assert score.tokens == 8 * 31


def test_a_quantized_model_diverges_by_the_formula(
    evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, text: Path, reference: Path
) -> None:
    tokens = tokenize([tiny], text).tokens
    logs = []
    for path in (tiny, tiny_q4):
        with Runtime([path], SETTINGS) as runtime:
            logits = np.stack([step.logits.astype(np.float64) for step in runtime.decode(tokens, range(8))])
        logits -= logits.max(axis=2, keepdims=True)
        logs.append(logits - np.log(np.exp(logits).sum(axis=2, keepdims=True)))
    exact = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=2)
    score = evaluator.score([tiny_q4], reference, range(8))
    assert score.mean_kld > 1e-4
    assert score.mean_kld == pytest.approx(exact.mean(), rel=1e-3)
    assert [chunk.mean_kld for chunk in score.chunks] == pytest.approx(exact.mean(axis=1), rel=2e-3)
    assert score.top1_agreement == (logs[0].argmax(axis=2) == logs[1].argmax(axis=2)).mean()


def test_chunks_scored_apart_merge_to_all_of_them(
    evaluator: InProcessEvaluator, tiny_q4: Path, reference: Path
) -> None:
    whole = evaluator.score([tiny_q4], reference, range(8))
    parts = merge_scores(evaluator.score([tiny_q4], reference, part) for part in ([5, 0], [1, 2, 3], [4, 6, 7]))
    assert parts.chunk_numbers == whole.chunk_numbers
    # Neighbours in a batch change the order of sums, and with it the rounding of activations: one part in a thousand.
    assert parts.mean_kld == pytest.approx(whole.mean_kld, rel=1e-2)


def test_a_chunk_longer_than_the_batch_gives_the_same_figures(
    tiny: Path, tiny_q4: Path, text: Path, tmp_path: Path
) -> None:
    scores = []
    for name, batch_size in (("long", 24), ("short", 128)):
        evaluator = InProcessEvaluator(replace(SETTINGS, batch_size=batch_size))
        evaluator.build_reference([tiny], text, tmp_path / name, chunks=4, identity="tiny")
        scores.append(evaluator.score([tiny_q4], tmp_path / name, range(4)))
        evaluator.close()
    assert scores[0].mean_kld == pytest.approx(scores[1].mean_kld, rel=1e-2)
    assert scores[0].tokens == scores[1].tokens


def test_a_reference_continues_where_it_was_cut(
    evaluator: InProcessEvaluator, tiny: Path, text: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop_after_three(done: int, total: int) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        evaluator.build_reference([tiny], text, tmp_path, chunks=6, identity="t", progress=stop_after_three)
    assert Reference.open(tmp_path).missing_chunks() == (3, 4, 5)
    first = (tmp_path / "chunk-00000.lqr").stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    built = evaluator.build_reference(
        [tiny], text, tmp_path, chunks=6, identity="t", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 6), (5, 6), (6, 6)]
    assert built.missing_chunks() == ()
    assert (tmp_path / "chunk-00000.lqr").stat().st_mtime_ns == first
    assert abs(evaluator.score([tiny], tmp_path, range(6)).mean_kld) <= 1e-6


def test_a_text_too_short_says_how_many_tokens_it_has(
    evaluator: InProcessEvaluator, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("the end")
    with pytest.raises(TextError, match=r"has \d tokens, which makes 0 chunks of 64"):
        evaluator.build_reference([tiny], tmp_path / "short", tmp_path / "ref", chunks=None, identity="t")
    assert not (tmp_path / "ref").exists()


def test_more_chunks_than_the_text_has_are_refused(
    evaluator: InProcessEvaluator, tiny: Path, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(TextError, match="needed: 5000"):
        evaluator.build_reference([tiny], text, tmp_path / "ref", chunks=5000, identity="t")


def test_another_vocabulary_is_refused(
    evaluator: InProcessEvaluator, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.models.MERGES", ("t h", "th e"))
    other = tiny_model(tmp_path, n_layer=1, name="other")
    with pytest.raises(ReferenceMismatch, match=r"vocabulary of 259 tokens.*one of 267"):
        evaluator.score([other], reference, [0])


def test_other_settings_are_refused_unless_they_are_asked_for(tiny: Path, reference: Path) -> None:
    other = InProcessEvaluator(replace(SETTINGS, ubatch_size=32))
    with pytest.raises(ReferenceMismatch, match="ubatch_size 64 there, 32 here"):
        other.score([tiny], reference, [0])
    assert other.score([tiny], reference, [0], settings=other.settings).tokens == 31
    with pytest.raises(ReferenceMismatch, match="ctx_size 64 there, 128 here"):
        other.score([tiny], reference, [0], settings=RuntimeSettings(ctx_size=128))
    other.close()


@pytest.mark.parametrize("chunks", [[], [8], [-1, 2]])
def test_chunks_that_are_not_there(
    evaluator: InProcessEvaluator, tiny: Path, reference: Path, chunks: list[int]
) -> None:
    with pytest.raises(EvaluationInputError, match="chunk"):
        evaluator.score([tiny], reference, chunks)


def test_logits_that_are_no_numbers_fail_the_candidate_only(
    evaluator: InProcessEvaluator, tiny: Path, reference: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    content = bytearray(tiny.read_bytes())
    content[-4096:] = b"\x00\x7e" * 2048  # float16 NaN in the last rows of the output matrix
    broken.write_bytes(content)
    with pytest.raises(DecodeError, match="not all numbers"):
        evaluator.score([broken], reference, [0, 1])
    assert abs(evaluator.score([tiny], reference, [0, 1]).mean_kld) <= 1e-6


def test_a_replaced_file_is_loaded_again(
    evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, reference: Path, tmp_path: Path
) -> None:
    path = tmp_path / "candidate.gguf"
    path.write_bytes(tiny.read_bytes())
    assert abs(evaluator.score([path], reference, [0]).mean_kld) <= 1e-5
    path.with_suffix(".new").write_bytes(tiny_q4.read_bytes())
    path.with_suffix(".new").replace(path)
    assert evaluator.score([path], reference, [0]).mean_kld > 1e-4


def test_a_damaged_reference_chunk_stops_the_score(
    evaluator: InProcessEvaluator, tiny: Path, text: Path, tmp_path: Path
) -> None:
    evaluator.build_reference([tiny], text, tmp_path, chunks=2, identity="t")
    path = tmp_path / "chunk-00001.lqr"
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ReferenceDamaged, match="chunk-00001"):
        evaluator.score([tiny], tmp_path, [0, 1])


def test_noise_floor_is_the_largest_over_other_shapes(
    evaluator: InProcessEvaluator, tiny: Path, reference: Path
) -> None:
    floor = measure_noise_floor(evaluator, [tiny], reference, range(4))
    assert set(floor.by_change) == {"same shape", "half ubatch", "one chunk a batch"}
    assert floor.mean_kld == max(floor.by_change.values())
    assert 0.0 <= floor.mean_kld < 1e-5


def test_shapes_that_are_no_change_are_left_out() -> None:
    alone = RuntimeSettings(ctx_size=64, batch_size=64, threads=1)
    assert list(other_shapes(alone)) == ["same shape", "half ubatch"]
    assert list(other_shapes(replace(alone, batch_size=256, threads=2))) == [
        "same shape", "half ubatch", "one chunk a batch", "one thread",
    ]  # fmt: skip


def test_our_base_file_is_read_as_a_reference(
    evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, text: Path, reference: Path, tmp_path: Path
) -> None:
    path = tmp_path / "base.kld"
    evaluator.write_base_file([tiny], text, path, chunks=4)
    assert BaseFile.open(path).tokens.tolist() == tokenize([tiny], text).tokens[: 4 * 64].tolist()
    assert abs(evaluator.score([tiny], path, range(4)).mean_kld) < 1e-4
    ours, theirs = evaluator.score([tiny_q4], reference, range(4)), evaluator.score([tiny_q4], path, range(4))
    assert theirs.mean_kld == pytest.approx(ours.mean_kld, rel=0.01)
    assert theirs.perplexity == pytest.approx(ours.perplexity, rel=1e-6)
    assert theirs.reference_perplexity == pytest.approx(ours.reference_perplexity, rel=1e-4)
    assert os.listdir(tmp_path) == ["base.kld"]


def test_base_files_that_cannot_be_read(tmp_path: Path, evaluator: InProcessEvaluator, tiny: Path, text: Path) -> None:
    path = tmp_path / "base.kld"
    evaluator.write_base_file([tiny], text, path, chunks=1)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ReferenceDamaged, match="cut short"):
        BaseFile.open(path)
    path.write_bytes(b"_logits_")
    with pytest.raises(EvaluationInputError, match="no --kl-divergence-base file"):
        BaseFile.open(path)
    path.write_bytes(content[:8] + bytes(12) + content[20:])
    with pytest.raises(ReferenceDamaged, match="0 chunks of 0"):
        BaseFile.open(path)
    with pytest.raises(EvaluationInputError, match="cannot be read"):
        BaseFile.open(tmp_path / "nothing")
