"""Asks llama.cpp which type each preset gives to each tensor, in a child process.

`llama_model_quantize` with `dry_run` names every tensor's type in its log and reads no tensor data. llama.cpp ends its
process where an assertion fails, so it is asked in a child: run as a module, this file is that child
(`python -m optimizer.recipes.dry_run MODEL PRUNED PRESET...`), and prints one JSON object.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from optimizer.errors import EngineError

FTYPES: Mapping[str, int] = MappingProxyType(
    {
        "F32": 0,
        "F16": 1,
        "BF16": 32,
        "Q8_0": 7,
        "Q6_K": 18,
        "Q5_K_M": 17,
        "Q5_K_S": 16,
        "Q5_1": 9,
        "Q5_0": 8,
        "Q4_K_M": 15,
        "Q4_K_S": 14,
        "Q4_1": 3,
        "IQ4_NL": 25,
        "Q4_0": 2,
        "IQ4_XS": 30,
        "MXFP4_MOE": 38,
        "Q3_K_L": 13,
        "Q3_K_M": 12,
        "Q3_K_S": 11,
        "IQ3_M": 27,
        "IQ3_S": 26,
        "IQ3_XS": 22,
        "IQ3_XXS": 23,
        "Q2_K": 10,
        "Q2_K_S": 21,
        "IQ2_M": 29,
        "IQ2_S": 28,
        "IQ2_XS": 20,
        "IQ2_XXS": 19,
        "IQ1_M": 31,
        "IQ1_S": 24,
        "TQ2_0": 37,
        "TQ1_0": 36,
    }
)
"""Preset -> number of `enum llama_ftype` (llama.h), from many bits to few."""

TIMEOUT_SECONDS = 300
LOG_TAIL = 20
WITH_IMATRIX = "+imatrix"

_TENSOR_LINE = re.compile(r"\[ *(\d+)/ *\d+\] .* type = *(\S+), size = .*?MiB(?: -> .*?MiB \((\S+)\))?$")
_FALLBACK_LINE = re.compile(r"warning: (\S+) .*\(required for type +(\S+)\).*-> falling back to +(\S+)$")

_UNKNOWN_ARCHITECTURE = re.compile(r"unknown model architecture: '([^']*)'")


@dataclass(frozen=True, slots=True)
class DryRun:
    """What one preset would do to a model; names as ggml spells them."""

    source_types: tuple[str, ...]
    """By tensor, in llama.cpp's order."""
    target_types: tuple[str, ...]
    fallbacks: Mapping[str, tuple[str, str]]
    """Tensor -> (type wanted, type given), where a row is no whole number of the wanted type's blocks."""


Request = tuple[str, bool]
"""A preset, and whether to choose as if there were an importance matrix for every tensor."""


def dry_run(
    model: Path, requests: Sequence[Request], prune_layers: Sequence[int] = (), *, processes: int = 1
) -> dict[Request, DryRun | str]:
    """Runs llama-quantize's planning for each request over the model file at `model`, in child processes.

    Args:
        processes: children that share the requests; each takes a quarter of a second to start.
        prune_layers: as `--prune-layers`; the answers are then about the tensors that stay, fallbacks by new names.

    Returns:
        For each request its result, or the last lines of llama.cpp's log where it refused.

    Raises:
        EngineError: a child process died, or every preset was refused; with the end of llama.cpp's log.
    """
    shares = [share for number in range(processes) if (share := requests[number::processes])]
    with ThreadPoolExecutor(max(1, len(shares))) as pool:
        answers = dict(pair for part in pool.map(partial(_ask_child, model, prune_layers), shares) for pair in part)
    results = {request: answers[request] for request in requests}
    refusals = [value for value in results.values() if isinstance(value, str)]
    if refusals and len(refusals) == len(results):
        if unknown := _UNKNOWN_ARCHITECTURE.search(refusals[0]):
            raise EngineError(
                f"{model}: this llama.cpp (llama-cpp-python {version('llama-cpp-python')}) knows no architecture "
                f"{unknown[1]!r}. A model newer than it needs a newer layerquant; one that was converted by a fork of "
                "llama.cpp must be converted again with llama.cpp's own convert_hf_to_gguf.py."
            )
        raise EngineError(
            f"{model}: llama.cpp cannot plan it with any preset. Its last words:\n{refusals[0]}\n"
            "The architecture may be newer than this llama.cpp, or the metadata damaged."
        )
    return results


def _ask_child(
    model: Path, prune_layers: Sequence[int], requests: Sequence[Request]
) -> list[tuple[Request, DryRun | str]]:
    words = [name + (WITH_IMATRIX if imatrix else "") for name, imatrix in requests]
    pruned = ",".join(map(str, sorted(prune_layers)))
    command = [sys.executable, "-m", "optimizer.recipes.dry_run_child", str(model), pruned, *words]
    source_root = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(part for part in (source_root, os.environ.get("PYTHONPATH", "")) if part)
    environment = os.environ | {"PYTHONPATH": search_path, "GGML_NO_BACKTRACE": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"{model}: llama.cpp did not plan it within {TIMEOUT_SECONDS} s. Try again when the machine is less busy."
        ) from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-LOG_TAIL:])
        raise EngineError(
            f"{model}: llama.cpp died while planning it (exit code {done.returncode}). Its last words:\n{tail}\n"
            "The model's metadata may be damaged, or its architecture newer than this llama.cpp."
        )
    answers = json.loads(done.stdout.rstrip().splitlines()[-1])  # a library may have printed something before
    return [(request, _read_result(answers[word])) for request, word in zip(requests, words, strict=True)]


def _read_result(value: Any) -> DryRun | str:
    if isinstance(value, str):
        return value
    fallbacks = {name: (wanted, given) for name, wanted, given in value["fallbacks"]}
    return DryRun(tuple(value["source"]), tuple(value["target"]), fallbacks)


def parse_log(text: str) -> DryRun:
    """Reads the log of one dry run; the tensors come in llama.cpp's order."""
    source: list[str] = []
    target: list[str] = []
    fallbacks: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        if match := _TENSOR_LINE.match(line):
            source.append(match[2])
            target.append(match[3] or match[2])
        elif match := _FALLBACK_LINE.match(line):
            fallbacks[match[1]] = (match[2], match[3])
    return DryRun(tuple(source), tuple(target), fallbacks)
