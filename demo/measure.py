"""Measure every figure of demo/README.md.

Usage: python -m demo.measure [--model demo/model/demo-F16.gguf] [--out figures.json] [--chunks 60] [--problems 200]

Needs llama-cpp-python and numpy. Quantizes the presets into a temporary folder, then: greedy answers to unseen
problems, long prompts, the divergence from F16 on report text, and the same with one layer at a time at Q2_K or Q3_K.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.corpus import FOLDER, held_out_problems, long_prompts
from demo.inference import Runner, open_model, quantize
from demo.verdicts import Verdict, final_number, tail_period, verdict

PRESETS = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
CONTEXT = 512
SEQUENCES = 32
PROBLEM_TOKENS = 320
LAYERS = 8


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def chunk_log_probabilities(runner: Runner, chunks: list[list[int]]) -> list[NDArray[np.float32]]:
    """Log probabilities over the second half of each chunk, as llama-perplexity scores it."""
    first = CONTEXT // 2
    return [log_softmax(runner.logits(chunk)[first:-1]).astype(np.float32) for chunk in chunks]


def divergence(path: Path, reference: list[NDArray[np.float32]], chunks: list[list[int]]) -> dict[str, float]:
    """Mean KLD from the reference in nats per token with its standard error, perplexity, agreement of the top token."""
    divergences, surprises, agreements = [], [], []
    with open_model(path, CONTEXT) as runner:
        for chunk, base in zip(chunks, reference, strict=True):
            (scores,) = chunk_log_probabilities(runner, [chunk])
            divergences.append((np.exp(base) * (base - scores)).sum(axis=-1))
            targets = np.array(chunk[CONTEXT // 2 + 1 :])
            surprises.append(-scores[np.arange(len(targets)), targets])
            agreements.append(base.argmax(axis=-1) == scores.argmax(axis=-1))
    per_token = np.concatenate(divergences)
    return {
        "mean_kld": float(per_token.mean()),
        "mean_kld_standard_error": float(per_token.std() / (len(per_token) - 1) ** 0.5),
        "perplexity": float(np.exp(np.concatenate(surprises).mean())),
        "top1_agreement": float(np.concatenate(agreements).mean()),
        "tokens": len(per_token),
    }


def solve(runner: Runner, count: int) -> dict[str, Any]:
    """Unseen problems, solved when the final number is right and the answer ends by itself."""
    problems = held_out_problems(count)
    answers = runner.generate([problem.prompt for problem in problems], PROBLEM_TOKENS)
    solved = [
        answer.stopped and final_number(answer.text) == problem.answer
        for problem, answer in zip(problems, answers, strict=True)
    ]
    by_steps: dict[int, list[bool]] = {}
    for problem, right in zip(problems, solved, strict=True):
        by_steps.setdefault(problem.steps, []).append(right)
    return {
        "solved": sum(solved),
        "total": count,
        "stopped": sum(answer.stopped for answer in answers),
        "by_steps": {steps: [sum(right), len(right)] for steps, right in sorted(by_steps.items())},
    }


def run_long(runner: Runner, count: int) -> list[dict[str, Any]]:
    """Long-output prompts, run to the end of the context."""
    prompts = long_prompts(count)
    rows = []
    for (kind, prompt), answer in zip(prompts, runner.generate([text for _, text in prompts], CONTEXT), strict=True):
        outcome = verdict(answer.tokens, answer.stopped)
        rows.append({"kind": kind, "prompt": prompt, "verdict": outcome.value, "tokens": len(answer.tokens)})
        if outcome is Verdict.LOOP:
            rows[-1]["period"] = tail_period(answer.tokens)
    return rows


def degrade_layer(source: Path, target: Path, layer: int, tensor_type: str) -> None:
    """F16 everywhere but in one layer, whose matrices all become ``tensor_type``."""
    overrides = [(rf"^blk\.{layer}\.", tensor_type), (r"^blk\.", "F16")]
    quantize(source, target, "Q2_K", overrides, outer="F16")


def measure_divergences(model: Path, folder: Path, chunk_count: int) -> dict[str, Any]:
    """Every preset against F16 on report text, then one layer at a time."""
    with open_model(model, CONTEXT) as runner:
        tokens = runner.tokenize((FOLDER / "texts" / "report.txt").read_text(encoding="utf-8"))
        chunks = [tokens[start : start + CONTEXT] for start in range(0, CONTEXT * chunk_count, CONTEXT)]
        reference = chunk_log_probabilities(runner, chunks)
    figures: dict[str, Any] = {"presets": {}, "layers": {}}
    print("| model | bytes | KLD | PPL | top-1 |\n" + "|---" * 5 + "|")
    for name in ("F16", *PRESETS):
        path = path_of(name, model, folder)
        row = figures["presets"][name] = {"size_bytes": path.stat().st_size, **divergence(path, reference, chunks)}
        print(
            f"| {name} | {row['size_bytes']} | {row['mean_kld']:.5f} ± {row['mean_kld_standard_error']:.5f} "
            f"| {row['perplexity']:.4f} | {row['top1_agreement']:.4f} |",
            flush=True,
        )
    print("\n| layer | type | KLD |\n|---|---|---|")
    for tensor_type in ("Q2_K", "Q3_K"):
        for layer in range(LAYERS):
            path = folder / "layer.gguf"
            degrade_layer(model, path, layer, tensor_type)
            row = figures["layers"][f"{tensor_type} {layer}"] = divergence(path, reference, chunks)
            print(
                f"| {layer} | {tensor_type} | {row['mean_kld']:.5f} ± {row['mean_kld_standard_error']:.5f} |",
                flush=True,
            )
    return figures


def measure_answers(path: Path, name: str, problems: int, long: int) -> dict[str, Any]:
    """One model on unseen problems and on long prompts, greedily."""
    with open_model(path, CONTEXT, SEQUENCES) as runner:
        row = {"problems": solve(runner, problems), "long": run_long(runner, long)}
    outcomes = [answer["verdict"] for answer in row["long"]]
    print(
        f"| {name} | {row['problems']['solved']} of {problems} | {row['problems']['stopped']} "
        f"| {outcomes.count('loop')} | {outcomes.count('out of tokens')} of {long} |",
        flush=True,
    )
    return row


def path_of(name: str, model: Path, folder: Path) -> Path:
    return model if name == "F16" else folder / f"{name}.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=FOLDER / "model" / "demo-F16.gguf")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--chunks", type=int, default=60, help="of 512 tokens of the report text; 0: none")
    parser.add_argument("--answers", default="F16," + ",".join(PRESETS), help="models that answer prompts")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--long-prompts", type=int, default=60)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"answers": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for preset in PRESETS:
            quantize(arguments.model, path_of(preset, arguments.model, folder), preset)
        if arguments.chunks:
            figures |= measure_divergences(arguments.model, folder, arguments.chunks)
        print("\n| model | solved | stopped | long: loops | long: out of tokens |\n" + "|---" * 5 + "|", flush=True)
        for preset in arguments.answers.split(","):
            figures["answers"][preset] = measure_answers(
                path_of(preset, arguments.model, folder), preset, arguments.problems, arguments.long_prompts
            )
            if arguments.out:
                arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
