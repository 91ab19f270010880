"""An evaluator that takes its time and computes nothing: known damage, durations as measured."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from evaluators.divergence import Score
from evaluators.evaluator import Progress
from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings

SECONDS_A_CHUNK = "LAYERQUANT_SIMULATED_SECONDS"
SPANS_FILE = "LAYERQUANT_SIMULATED_SPANS"
"""Where every evaluation adds a line: when it began and when it ended, in seconds of the epoch."""
SPREAD = (0.90, 0.93, 0.95, 0.97, 1.0, 1.04, 1.09, 1.24, 1.36)
"""Deciles of the seconds a chunk over their median: 349 evaluations of a demo search on an idle machine."""


class SimulatedEvaluator(FakeEvaluator):
    """Sleeps for every chunk as long as the environment says, times one of the measured deciles."""

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        key = " ".join(path.name for path in candidate_paths).encode()
        decile = SPREAD[hashlib.sha256(key).digest()[0] % len(SPREAD)]
        began = time.time()
        time.sleep(len(chunks) * decile * float(os.environ[SECONDS_A_CHUNK]))
        with open(os.environ[SPANS_FILE], "a", encoding="ascii") as spans:
            spans.write(f"{began!r} {time.time()!r}\n")
        return super().score(candidate_paths, reference, chunks, progress, settings=settings)
