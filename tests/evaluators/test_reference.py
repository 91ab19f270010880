"""The reference folder: what is kept, what is refused, what is repaired."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from evaluators.comparison import encode
from evaluators.errors import DiskError, EvaluationInputError, ReferenceDamaged, ReferenceMismatch
from evaluators.reference import Reference, ReferenceChunk, chunk_bytes, require_disk_space
from evaluators.settings import RuntimeSettings

SETTINGS = RuntimeSettings(ctx_size=16, batch_size=32, threads=1)
N_VOCAB = 50


def prepare(folder: Path, *, chunks: int = 3, **changes: object) -> Reference:
    values = {
        "identity": "model",
        "text_sha256": "text",
        "settings": SETTINGS,
        "engine": {"identity": "engine"},
        "n_vocab": N_VOCAB,
        "tokens": np.arange(16 * chunks, dtype=np.int32),
        **changes,
    }
    return Reference.prepare(folder, **values)  # type: ignore[arg-type]


def content(seed: int) -> ReferenceChunk:
    random = np.random.default_rng(seed)
    return encode(random.standard_normal((7, N_VOCAB)).astype(np.float32), np.zeros(7, dtype=np.int32))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    reference = prepare(tmp_path)
    reference.write_chunk(1, content(1))
    again = Reference.open(tmp_path)
    assert again == reference
    assert again.missing_chunks() == (0, 2)
    read, written = again.read_chunk(1), content(1)
    np.testing.assert_array_equal(read.log_weights, written.log_weights)
    np.testing.assert_array_equal(read.nll, written.nll)
    np.testing.assert_array_equal(read.top, written.top)
    assert reference.chunk_path(1).stat().st_size == chunk_bytes(7, N_VOCAB)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chunk-00001.lqr", "meta.json", "tokens.npy"]


def test_a_reference_is_lengthened_and_never_shortened(tmp_path: Path) -> None:
    prepare(tmp_path, chunks=2).write_chunk(0, content(0))
    longer = prepare(tmp_path, chunks=5)
    assert (longer.n_chunks, longer.missing_chunks()) == (5, (1, 2, 3, 4))
    assert prepare(tmp_path, chunks=1).n_chunks == 5


@pytest.mark.parametrize(
    "change",
    [
        {"identity": "other"},
        {"text_sha256": "other"},
        {"n_vocab": 51},
        {"settings": RuntimeSettings(ctx_size=16, batch_size=64)},
        {"settings": RuntimeSettings(ctx_size=16, batch_size=32, rope_freq_base=1e6)},
    ],
)
def test_another_reference_in_the_folder_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    prepare(tmp_path)
    with pytest.raises(ReferenceMismatch, match="another reference"):
        prepare(tmp_path, **change)


def test_where_the_reference_runs_may_change(tmp_path: Path) -> None:
    prepare(tmp_path)
    elsewhere = RuntimeSettings(ctx_size=16, batch_size=32, threads=7, n_gpu_layers=99, use_extra_bufts=False)
    assert prepare(tmp_path, settings=elsewhere).settings.n_gpu_layers == 0


@pytest.mark.parametrize("position", [70, 200, -1])
def test_a_damaged_chunk_is_noticed(tmp_path: Path, position: int) -> None:
    reference = prepare(tmp_path)
    reference.write_chunk(0, content(0))
    damaged = bytearray(reference.chunk_path(0).read_bytes())
    damaged[position] ^= 1
    reference.chunk_path(0).write_bytes(damaged)
    with pytest.raises(ReferenceDamaged, match="checksum"):
        Reference.open(tmp_path).read_chunk(0)


def test_a_cut_chunk_is_missing_and_not_read(tmp_path: Path) -> None:
    reference = prepare(tmp_path)
    reference.write_chunk(0, content(0))
    os.truncate(reference.chunk_path(0), 400)
    assert 0 in reference.missing_chunks()
    with pytest.raises(ReferenceDamaged, match="400 bytes"):
        reference.read_chunk(0)
    os.truncate(reference.chunk_path(0), 0)
    with pytest.raises(ReferenceDamaged):
        reference.read_chunk(0)


def test_a_chunk_under_another_number_is_noticed(tmp_path: Path) -> None:
    reference = prepare(tmp_path)
    reference.write_chunk(0, content(0))
    reference.chunk_path(0).rename(reference.chunk_path(2))
    with pytest.raises(ReferenceDamaged, match="no chunk 2"):
        reference.read_chunk(2)


def test_what_is_no_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationInputError, match="holds no reference"):
        Reference.open(tmp_path)
    prepare(tmp_path)
    with pytest.raises(EvaluationInputError, match="build it first"):
        Reference.open(tmp_path).read_chunk(0)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(ReferenceMismatch, match="99"):
        Reference.open(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(ReferenceDamaged, match="build it again"):
        Reference.open(tmp_path)


def test_a_reference_that_does_not_fit_the_disk_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"GB are free"):
        require_disk_space(tmp_path, 10**18)
    require_disk_space(tmp_path, 1)
