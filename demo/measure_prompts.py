"""Measure the table of docs/prompts.md: the demo suite answered greedily by F16 and presets.

Usage: python -m demo.measure_prompts [--answers F16,Q3_K_M,Q3_K_S,Q2_K]

Solved: all checks hold and the answer ended by itself. Takes minutes a model on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from demo.corpus import FOLDER
from demo.inference import open_model, quantize
from demo.measure import CONTEXT, SEQUENCES
from demo.prompts import LONG_TOKENS, PATH, PROBLEM_TOKENS
from evaluators.prompts.checks import judge
from evaluators.prompts.suite import Suite, load_suite

MODEL = FOLDER / "model" / "demo-F16.gguf"


def measure(path: Path, suite: Suite) -> tuple[Counter[str], int]:
    """(solved by category, answers that never ended)"""
    solved, endless = Counter[str](), 0
    with open_model(path, CONTEXT, SEQUENCES) as runner:
        for limit in (PROBLEM_TOKENS, LONG_TOKENS):
            prompts = [prompt for prompt in suite.prompts if prompt.max_tokens == limit]
            answers = runner.generate([prompt.text or "" for prompt in prompts], limit)
            for prompt, answer in zip(prompts, answers, strict=True):
                endless += not answer.stopped
                solved[prompt.category] += bool(answer.stopped and judge(prompt, answer.text).passed)
    return solved, endless


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", default="F16,Q3_K_M,Q3_K_S,Q2_K", help="models that answer")
    suite = load_suite(PATH)
    categories = list(dict.fromkeys(prompt.category for prompt in suite.prompts))
    print(
        "| model | solved | " + " | ".join(categories) + " | never stopped |\n" + "|---" * (3 + len(categories)) + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().answers.split(","):
            path = MODEL if name == "F16" else Path(folder) / f"{name}.gguf"
            if name != "F16":
                quantize(MODEL, path, name)
            solved, endless = measure(path, suite)
            cells = " | ".join(str(solved[category]) for category in categories)
            print(f"| {name} | {solved.total()} of {len(suite.prompts)} | {cells} | {endless} |", flush=True)


if __name__ == "__main__":
    main()
