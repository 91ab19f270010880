"""One candidate against one reference, whatever form the reference has: what `layerquant eval` does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluators.base_file import BaseFile, is_base_file
from evaluators.divergence import Score
from evaluators.errors import EvaluationInputError, ReferenceMismatch, TextError
from evaluators.evaluator import Evaluator, Progress
from evaluators.reference import Reference


def evaluate_file(
    evaluator: Evaluator,
    candidate_paths: Sequence[Path],
    reference_paths: Sequence[Path],
    *,
    text: Path | None,
    chunks: int | None = None,
    folder: Path | None = None,
    identity: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The object of `eval --json`, without prompts.

    `reference_paths` is a GGUF model (one file, or all of a split), a --kl-divergence-base file, or a reference
    folder. For a model its logits are made first, in `folder` (kept, and reused when `identity` is the same) or in a
    temporary one; both steps report to `progress`. With a logits file `text` may be left out, and is checked when it
    is given. Raises EvaluationError.
    """
    with tempfile.TemporaryDirectory(prefix="layerquant-eval-") as temporary:
        if is_base_file(reference_paths[0]):
            reference = reference_paths[0]
            available = _chunks_of_base_file(evaluator, candidate_paths, reference, text)
        elif reference_paths[0].is_dir():
            reference = reference_paths[0]
            available = Reference.open(reference).n_chunks
        else:
            if text is None:
                raise TextError("a text is needed to compare two models; give one with --text")
            reference = folder or Path(temporary)
            built = evaluator.build_reference(
                reference_paths,
                text,
                reference,
                chunks=chunks,
                identity=identity or str(reference_paths[0].resolve()),
                progress=progress,
            )
            available = built.n_chunks if chunks is None else chunks
        score = evaluator.score(candidate_paths, reference, range(_wanted(chunks, available, reference)), progress)
    return as_json(score, candidate_paths)


def as_json(score: Score, candidate_paths: Sequence[Path]) -> dict[str, Any]:
    return {**score.as_json(), "size_bytes": sum(path.stat().st_size for path in candidate_paths)}


def _wanted(chunks: int | None, available: int, reference: Path) -> int:
    if chunks is None:
        return available
    if not 1 <= chunks <= available:
        raise EvaluationInputError(f"{chunks} chunks were asked for; the reference {reference} has {available}")
    return chunks


def _chunks_of_base_file(
    evaluator: Evaluator, candidate_paths: Sequence[Path], reference: Path, text: Path | None
) -> int:
    base = BaseFile.open(reference)
    if text is not None:
        tokens = evaluator.tokenize(candidate_paths, text).tokens
        if tokens.size < base.tokens.size or (tokens[: base.tokens.size] != base.tokens).any():
            raise ReferenceMismatch(
                f"{reference} was not made from the text {text} with this model's tokenizer; "
                "give the text it was made from, or leave --text out: the file holds its tokens"
            )
    return base.n_chunks
