"""The machines of the table: GPUs by published prompt speeds, the rest assumed.

Prompt tokens a second of llama-bench (pp512, all layers on the GPU), May 2024:
https://github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference. Later builds of llama.cpp are faster.
"""

from collections.abc import Mapping

from benchmarks.scaling.cost import GB, Machine

LLAMA_8B, LLAMA_70B = 7_504_658_432, 69_501_714_432
"""Weights that a token is multiplied with in the models that were measured."""

GIB = 2**30
BUS = 12 * GB
"""Bytes a second to a GPU over PCIe 4.0 x16, as copied in practice (assumed)."""
DISK = 3 * GB
"""Bytes a second of an NVMe disk (assumed)."""
LOGITS_A_CORE = 255 * 151_936 / 0.058
"""Logits compared a second on one core: docs/evaluation.md."""


def machines(quantize: Mapping[str, float]) -> tuple[Machine, ...]:
    """quantize: weights a second and core by tensor type, measured (`rates.quantize_rates`)."""

    def machine(name: str, decode: float, vram: int, memory: int, cores: int, n_evaluators: int = 1) -> Machine:
        logits = LOGITS_A_CORE * cores / 2 / n_evaluators
        return Machine(name, decode, vram * GIB, memory * GIB, cores, BUS, DISK, logits, quantize, n_evaluators)

    return (
        machine("RTX 4070 Ti, 12 GiB", 3936 * LLAMA_8B, 12, 64, 8),
        machine("RTX 3090, 24 GiB", 4030 * LLAMA_8B, 24, 64, 8),
        machine("RTX 4090, 24 GiB", 7139 * LLAMA_8B, 24, 128, 16),
        machine("8 x RTX 4090, one model over all", 813 * LLAMA_70B, 8 * 24, 512, 64),
        machine("8 x RTX 4090, an evaluator each", 7139 * LLAMA_8B, 24, 512, 64, 8),
    )
