"""A text through a model, its activations summed; interrupted at any moment, the same call goes on from its last save.

Chunks, batches and BOS are llama-imatrix's (tools/imatrix/imatrix.cpp): batch_size // ctx_size chunks at once as
parallel sequences, each from an empty memory, outputs asked for at every position so that no row is left out of the
last layer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numba

from evaluators.errors import EvaluationInputError, ReferenceMismatch
from evaluators.evaluator import Progress
from evaluators.imatrix.graph_node import require_known_layout
from evaluators.imatrix.observer import ActivationObserver
from evaluators.imatrix.sums import ActivationSums
from evaluators.imatrix.sums_file import Collected, SumsFile, SumsIdentity, write_sums
from evaluators.runtime import Runtime, engine_info, tokenize
from evaluators.settings import RuntimeSettings
from evaluators.targets import count_chunks

SAVE_SECONDS = 10.0
"""Saves are no closer together than this, nor than twenty times what the last one took."""
_SAVING_SHARE = 0.05


def collect_activations(
    model_paths: Sequence[Path],
    text: Path,
    path: Path,
    settings: RuntimeSettings,
    *,
    identity: str,
    chunks: int | None = None,
    process_output: bool = False,
    save_every: int = 10,
    save_seconds: float = SAVE_SECONDS,
    progress: Progress | None = None,
) -> Collected:
    """Sum the squared activations over the first `chunks` chunks (None: all) into the file `path`.

    Args:
        identity: the caller's name of the model (a fingerprint).
        process_output: sum what the output matrix is multiplied with as well.
        save_every: chunks between two saves, at least; more where they would follow within `save_seconds`.
        progress: called after each batch; when it raises, what was summed is saved first.

    Raises:
        ReferenceMismatch: `path` holds the sums of another model, text or other settings.
        TextError: the text has fewer chunks.
        DecodeError: activations are not finite.
    """
    if save_every < 1:
        raise EvaluationInputError(f"a save every {save_every} chunks was asked for; give at least 1")
    require_known_layout()
    tokenized = tokenize(model_paths, text)
    wanted = count_chunks(tokenized, text, settings, chunks)
    named = {name: value for name, value in settings.as_dict().items() if name != "threads"}
    run = SumsIdentity(identity, tokenized.sha256, engine_info().identity, {**named, "process_output": process_output})
    sums, done = _continued(path, run, settings, wanted)
    before = done
    if done == wanted:
        return Collected(path, wanted, before)
    threads = numba.get_num_threads()
    numba.set_num_threads(min(settings.resolved_threads(), numba.config.NUMBA_NUM_THREADS))
    observer = ActivationObserver(sums, process_output=process_output)
    saved, saved_at, pause = done, time.monotonic(), save_seconds
    try:
        with Runtime(model_paths, settings, on_node=observer.callback) as runtime:
            while done < wanted:
                group = range(done, min(done + settings.n_sequences, wanted))
                for _ in runtime.pass_over(tokenized.tokens, group):
                    observer.check()
                    observer.begin_batch()
                observer.check()
                done = group.stop
                try:
                    if progress is not None:
                        progress(done, wanted)
                except BaseException:
                    write_sums(path, sums, run, settings.ctx_size, done)
                    raise
                due = done - saved >= save_every and time.monotonic() - saved_at >= pause
                if due and done < wanted:
                    started = time.monotonic()
                    write_sums(path, sums, run, settings.ctx_size, done)
                    saved, saved_at = done, time.monotonic()
                    pause = max(save_seconds, (saved_at - started) / _SAVING_SHARE)
    finally:
        numba.set_num_threads(threads)
    write_sums(path, sums, run, settings.ctx_size, done)
    return Collected(path, wanted, before)


def _continued(path: Path, run: SumsIdentity, settings: RuntimeSettings, wanted: int) -> tuple[ActivationSums, int]:
    """What an earlier run left, and its chunks; nothing where it left none that this one would have made as well."""
    if not path.exists():
        return ActivationSums(), 0
    kept = SumsFile.open(path)
    differences = kept.identity.differences(run)
    if differences:
        raise ReferenceMismatch(
            f"{path} was left by an interrupted run with other settings: {'; '.join(differences)}. "
            "Run that command again, or remove the file to start anew"
        )
    # Groups of chunks begin at multiples of n_sequences; a run that ended elsewhere was one of fewer chunks.
    fits = kept.chunks_done == wanted or (kept.chunks_done < wanted and kept.chunks_done % settings.n_sequences == 0)
    return (kept.load(), kept.chunks_done) if fits else (ActivationSums(), 0)
