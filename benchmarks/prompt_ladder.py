"""What the presets solve of a prompt suite, with intervals and paired tests: the figures of docs/behaviour.md.

usage: python -m benchmarks.prompt_ladder [--suite FILE] [--model MODEL-F16.gguf] [--presets Q8_0,...] [--runs 3]

The presets are quantized from the model into a temporary folder. Each answers `runs` times, all by itself and through
the same process as `layerquant eval --prompts`, with the model's own answers as drafts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.interval_figure import Row, draw
from benchmarks.pages import fill
from demo.corpus import FOLDER
from demo.inference import quantize
from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.run import run_suite
from evaluators.behaviour.scores import compare, score
from evaluators.generation.settings import GenerationSettings
from evaluators.process import EvaluatorProcess
from evaluators.prompts.suite import Suite, load_suite

DOCS = FOLDER.parent / "docs"
FIGURES, PAGE, PICTURE = DOCS / "prompt_ladder.json", DOCS / "behaviour.md", DOCS / "images" / "prompt-ladder.svg"
PRESETS = "Q8_0,Q6_K,Q5_K_M,Q4_K_M,IQ4_XS,Q3_K_L,Q3_K_M,Q3_K_S,Q2_K"


def measure(path: Path, suite: Suite, runs: int, source: BehaviourResult | None) -> tuple[BehaviourResult, bool]:
    """The answers, and whether every run gave the same transcripts."""
    drafts = source.transcripts if source is not None else None
    with EvaluatorProcess() as evaluator:
        made = [run_suite(evaluator, [path], suite, GenerationSettings(), drafts) for _ in range(runs)]
    return made[0], all(each.prompts == made[0].prompts for each in made)


def figures(
    result: BehaviourResult, above: BehaviourResult | None, source: BehaviourResult | None, *, repeatable: bool
) -> dict[str, Any]:
    """above: the result one rung higher."""
    found = score(result.prompts, source.transcripts if source is not None else None).as_json()
    for name, other in (("against_source", source), ("against_above", above)):
        if other is not None:
            test = compare(result.prompts, other.prompts)
            found[name] = {"gained": test.gained, "lost": test.lost, "p": test.p_value}
    return {**found, "repeatable": repeatable}


def ladder_table(measured: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| model | solved | 95 % | against F16: lost, gained | p | against the row above | p | loops | ran out "
        "| same tokens |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in measured.items():
        low, high = each["solved_interval"]
        cells = [name, f"{each['solved']} of {each['total']}", f"{low:.0%} - {high:.0%}".replace("%", "")]
        for other in ("against_source", "against_above"):
            test = each.get(other)
            cells += ["", ""] if test is None else [f"{test['lost']}, {test['gained']}", probability(test["p"])]
        share = "" if each["agreement"] is None else f"{each['agreement']['share']:.0%}"
        cells += [str(each["loops"]), str(each["out_of_tokens"]), share]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def category_table(measured: dict[str, dict[str, Any]]) -> str:
    first = next(iter(measured.values()))["by_category"]
    lines = ["| model | " + " | ".join(first) + " |", "|---" * (len(first) + 1) + "|"]
    for name, each in measured.items():
        counts = each["by_category"].values()
        lines.append(f"| {name} | " + " | ".join(f"{count['solved']} of {count['total']}" for count in counts) + " |")
    return "\n".join(lines)


def probability(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else "< 0.01" if value >= 0.0001 else "< 0.0001"


def picture(measured: dict[str, dict[str, Any]]) -> str:
    rows = [
        Row(name, each["solved"] / each["total"], *each["solved_interval"], note=f"{each['solved']}")
        for name, each in measured.items()
    ]
    return draw(rows, "share of the demo suite solved, with Wilson's 95 % interval")


TABLES = (ladder_table, category_table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, default=FOLDER.parent / "prompts" / "demo.yaml")
    parser.add_argument("--model", type=Path, default=FOLDER / "model" / "demo-F16.gguf")
    parser.add_argument("--presets", default=PRESETS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--publish", action="store_true", help="write the figures, tables and picture of docs/")
    options = parser.parse_args(arguments)
    suite = load_suite(options.suite)
    measured: dict[str, dict[str, Any]] = {}
    source = above = None
    with tempfile.TemporaryDirectory() as folder:
        for preset in ["F16", *filter(None, options.presets.split(","))]:
            path = options.model
            if source is not None:
                path = Path(folder) / f"{preset}.gguf"
                quantize(options.model, path, preset)
            result, repeatable = measure(path, suite, options.runs, source)
            measured[preset] = figures(result, above, source, repeatable=repeatable)
            print(preset, json.dumps(measured[preset]), flush=True)
            source, above = source or result, result
    print(ladder_table(measured), category_table(measured), sep="\n\n")
    if options.publish:
        FIGURES.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), TABLES, measured), encoding="utf-8")
        PICTURE.write_text(picture(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
