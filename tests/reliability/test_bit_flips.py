"""One bit of a stored file changed: what is noticed, and what is made again."""

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluators.errors import ReferenceDamaged
from evaluators.in_process import InProcessEvaluator
from evaluators.reference import Reference
from evaluators.settings import RuntimeSettings
from optimizer import cli
from optimizer.gguf.header import read_header
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.recipe import Recipe
from optimizer.search.local_scorer import LocalScorer
from optimizer.search.scoring import MeasuredText
from tests.evaluators.test_reference import content, prepare
from tests.reliability.processes import KILLED, Fault, run
from tests.reliability.states import NAME, digest, end_state


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_in_every_shard_the_search_goes_on_with_new_ones(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    options = ["search", config, "--studies", place]
    killed = run(options, place / "killed.log", Fault("optimizer.store:Store.finish_trial", 3))
    assert killed.process.exitcode == KILLED
    shards = sorted((place / "bank").glob("*/*.gguf"))
    good = {path: digest(path) for path in shards}
    for path in shards:
        flip(path, read_header(path).tensors[0].offset)
    command = run(options, place / "again.log")
    assert command.process.exitcode == 0, command.output
    assert "is damaged" in command.output
    assert end_state(place) == left_alone
    export = ["export", NAME, "--studies", place, "--as", "gguf", "-o", place / "winner.gguf"]
    assert run(export, place / "export.log").process.exitcode == 0
    made_again = [path for path in shards if digest(path) == good[path]]
    assert made_again, "what the search needed was made again, byte for byte"


def test_in_a_shard_while_it_is_joined_the_file_is_not_kept(
    left_alone: dict[str, Any], memory: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bank looks at a shard's data once a process; the joined file is compared with the shards' checksums."""
    join = import_module("optimizer.quantization.join")
    real = join.copy_bytes
    copied: list[int] = []

    def flips_first(source: int, source_offset: int, target: int, target_offset: int, n_bytes: int) -> None:
        real(source, source_offset, target, target_offset, n_bytes)
        if not copied:
            byte = os.pread(target, 1, target_offset)
            os.pwrite(target, bytes([byte[0] ^ 1]), target_offset)
        copied.append(n_bytes)

    monkeypatch.setattr(join, "copy_bytes", flips_first)
    output = place / "winner.gguf"
    assert cli.run(["export", NAME, "--studies", str(memory / "left_alone"), "--as", "gguf", "-o", str(output)]) == 1
    assert list(place.iterdir()) == []


def test_in_reference_logits_the_chunk_is_removed_and_made_again(tmp_path: Path) -> None:
    reference = prepare(tmp_path)
    for chunk in range(3):
        reference.write_chunk(chunk, content(chunk))
    flip(reference.chunk_path(1), 200)
    with pytest.raises(ReferenceDamaged, match="run the same command again"):
        Reference.open(tmp_path).read_chunk(1)
    again = prepare(tmp_path)
    assert again.missing_chunks() == (1,)
    again.write_chunk(1, content(1))
    np.testing.assert_array_equal(Reference.open(tmp_path).read_chunk(1).nll, content(1).nll)


def test_in_reference_logits_the_search_goes_on(config: Path, memory: Path, place: Path) -> None:
    """With the real evaluator: the chunk is made again, and the score is the one that it was."""
    model, text = ModelFile.open(memory / "tiny.gguf"), memory / "search.txt"
    evaluator = InProcessEvaluator(RuntimeSettings(ctx_size=64, batch_size=64, threads=1))
    try:
        scorer = LocalScorer(evaluator, AsItIs(model), model, place)  # type: ignore[arg-type]  # a builder that builds nothing
        sha256 = hashlib.sha256(text.read_bytes()).hexdigest()
        folder = scorer.make_reference(text, sha256, "reference", 2)
        measured = MeasuredText(0, sha256, text, folder, "", 2, 64)
        before = scorer.score(Recipe({}), measured, [0, 1])
        evaluator.release()
        chunk = Reference.open(folder).chunk_path(1)
        good = digest(chunk)
        flip(chunk, 500)
        assert scorer.score(Recipe({}), measured, [0, 1]).as_json() == before.as_json()
        assert digest(chunk) == good
    finally:
        evaluator.close()


class AsItIs:
    """Builds the source itself, whatever the recipe."""

    def __init__(self, model: ModelFile) -> None:
        self.paths = model.paths

    def build(self, recipe: Recipe) -> "AsItIs":
        return self


def test_in_the_tokens_of_a_reference(tmp_path: Path) -> None:
    prepare(tmp_path)
    flip(tmp_path / "tokens.npy", -3)
    with pytest.raises(ReferenceDamaged, match="does not hold the text's tokens; delete"):
        prepare(tmp_path)
