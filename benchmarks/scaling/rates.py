"""Rates of this machine: quantizing a core, decoding and scoring."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluators.comparison import compare, encode
from evaluators.evaluator import Evaluator
from optimizer import llama
from optimizer.gguf.model_file import ModelFile

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ3_S", "IQ4_NL", "IQ4_XS")
ROWS, WIDTH = 256, 4096
REPEAT = 3


def quantize_rates() -> Mapping[str, float]:
    """Weights a second and core, of normally distributed weights."""
    source = np.random.default_rng(0).standard_normal((ROWS, WIDTH), np.float32)
    rates = {}
    for name in TYPES:
        llama.initialize_quantizer(name)
        out = np.empty(ROWS * llama.row_bytes(name, WIDTH), np.uint8)
        times = []
        for _ in range(REPEAT):
            started = time.perf_counter()
            llama.quantize_rows(name, source, WIDTH, None, out)
            times.append(time.perf_counter() - started)
        rates[name] = source.size / min(times)
    return rates


def logits_rate(n_vocab: int, n_rows: int = 255) -> float:
    """Logits compared a second, with all cores."""
    generator = np.random.default_rng(1)
    logits = generator.standard_normal((n_rows, n_vocab), np.float32)
    targets = generator.integers(0, n_vocab, n_rows).astype(np.int32)
    reference = encode(logits, targets)
    compare(logits, targets, reference, 0)  # compiles
    times = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        compare(logits, targets, reference, 0)
        times.append(time.perf_counter() - started)
    return logits.size / min(times)


def score_rate(
    evaluator: Evaluator, model: ModelFile, text: Path, folder: Path, active: int, chunks: int = 16
) -> tuple[float, float]:
    """(weights decoded a second, logits compared a second): the source against itself on some chunks."""
    reference = evaluator.build_reference(model.paths, text, folder, chunks=chunks, identity=model.fingerprint)
    evaluator.score(model.paths, folder, [0])  # loads and compiles
    started = time.perf_counter()
    evaluator.score(model.paths, folder, list(range(chunks)))
    seconds = time.perf_counter() - started
    rate = logits_rate(reference.n_vocab)
    tokens = chunks * evaluator.settings.ctx_size
    return tokens * active / (seconds - tokens / 2 * reference.n_vocab / rate), rate
