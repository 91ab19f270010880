"""How fast logits are compared: rows a second of the fused kernel against the same formula in plain numpy.

usage: python benchmarks/divergence.py [--vocabulary 151936] [--rows 255] [--threads N]

Both run in one process on the same rows, alternately, so that the ratio means something on a busy machine too.
255 rows are one chunk of 512 tokens, the unit the evaluator works in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from evaluators.comparison import compare, encode
from evaluators.reference import ReferenceChunk


def plain_numpy(logits: NDArray[np.float32], targets: NDArray[np.int32], reference: ReferenceChunk) -> float:
    """Mean KLD, with the nll and top token that a score needs too; float32 arrays of the whole chunk at each step."""
    log_q = logits - logits.max(axis=1, keepdims=True)
    log_q -= np.log(np.exp(log_q).sum(axis=1, dtype=np.float64, keepdims=True)).astype(np.float32)
    log_p = reference.log_weights.view(np.float16).astype(np.float32)
    log_p -= np.log(np.exp(log_p).sum(axis=1, dtype=np.float64, keepdims=True)).astype(np.float32)
    nll = -log_q[np.arange(len(targets)), targets]
    top = log_q.argmax(axis=1)
    assert nll.shape == top.shape
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1, dtype=np.float64).mean())


def fused(logits: NDArray[np.float32], targets: NDArray[np.int32], reference: ReferenceChunk) -> float:
    return float(compare(logits, targets, reference, 0).kld.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--rows", type=int, default=255)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    random = np.random.default_rng(1)
    base = (random.standard_normal((options.rows, options.vocabulary), np.float32)) * np.float32(2.5)
    candidate = base + random.standard_normal(base.shape, np.float32) * np.float32(0.2)
    targets = random.integers(0, options.vocabulary, options.rows).astype(np.int32)
    reference = encode(base, targets)

    started = time.perf_counter()
    results = [fused(candidate, targets, reference), plain_numpy(candidate, targets, reference)]
    first = time.perf_counter() - started
    functions: list[Callable[..., float]] = [fused, plain_numpy]
    best = [float("inf"), float("inf")]
    for _ in range(options.rounds):
        for index, function in enumerate(functions):
            started = time.perf_counter()
            function(candidate, targets, reference)
            best[index] = min(best[index], time.perf_counter() - started)
    speeds = [options.rows / seconds for seconds in best]
    print(f"vocabulary {options.vocabulary}, {options.rows} rows, {options.threads} threads (first call {first:.1f} s)")
    print(f"mean KLD     fused {results[0]:.7f}   numpy {results[1]:.7f}")
    print(f"rows/s       fused {speeds[0]:9.0f}   numpy {speeds[1]:9.0f}")
    print(f"ratio        {speeds[0] / speeds[1]:.1f}")


if __name__ == "__main__":
    main()
