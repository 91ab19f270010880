"""Models of real shapes without their weights: a header, and a file as long as the model that takes no room."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from optimizer.gguf.model_file import ModelFile
from tests.models import REAL_MODELS, Shapes, header_only


@dataclass(frozen=True)
class Subject:
    """`experts_used` of all experts work on a token; both 0 in a dense model."""

    title: str
    shapes: str
    experts_used: int = 0


SUBJECTS = (
    Subject("Llama-3.1-8B", "llama-3.1-8b"),
    Subject("QwQ-32B", "qwq-32b"),
    Subject("Qwen3-30B-A3B", "qwen3-30b-a3b", 8),
    Subject("Llama-3.1-70B", "llama-3.1-70b"),
    Subject("Qwen3-235B-A22B", "qwen3-235b-a22b", 8),
    Subject("Llama-3.1-405B", "llama-3.1-405b"),
)


def write_stand_in(folder: Path, subject: Subject) -> Path:
    path = header_only(folder, subject.shapes)
    tensors = ModelFile.open(path, planning=True).tensors
    os.truncate(path, max(tensor.offset + tensor.n_bytes for tensor in tensors))
    return path


def active_weights(model: ModelFile, subject: Subject, shapes: Mapping[str, Shapes] = REAL_MODELS) -> int:
    """Weights that one token is multiplied with: all matrices but the embeddings, and of the experts those used."""
    everyone = shapes[subject.shapes].experts
    total = 0
    for tensor in model.tensors:
        if len(tensor.shape) < 2 or tensor.name == "token_embd.weight":
            continue
        weights = prod(tensor.shape)
        total += weights * subject.experts_used // everyone if "_exps." in tensor.name else weights
    return total
