"""Answers to a prompt suite: all together with verified drafts, against one after the other, through one llama.cpp.

usage: python -m benchmarks.generation [--suite prompts/demo.yaml] [--candidates Q4_K_M,Q2_K] [--rounds 3] [--publish]

The candidates are quantized from --model into a temporary folder; their drafts are the model's own answers, made first.
Ways, alternated in each round so that a busy machine slows all of them, best round of each reported:

- library: llama_cpp.Llama.create_completion at temperature 0, one prompt after the other (raw prompts only)
- loop: the least that it takes with llama.cpp's C API: decode the prompt, then the likeliest token, again and again
- single: the greedy engine with one sequence and no drafts
- single_drafted: one sequence with drafts
- batched: several questions at once, no drafts
- shared: several sequences of one context with drafts
- drafted: several questions at once with drafts, as a search does it

Then answers with and without the early stop at a proven loop, to prompts that ask for long lists and stories.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.one_at_a_time import answer_by_library, answer_by_loop
from benchmarks.pages import fill
from demo.corpus import FOLDER, long_prompts
from demo.inference import quantize
from evaluators.generation.engine import GreedyEngine
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Asked, Generation, Transcript
from evaluators.prompts.checks import judge
from evaluators.prompts.suite import Question, load_suite
from evaluators.repetition import Verdict
from evaluators.settings import RuntimeSettings

DOCS = FOLDER.parent / "docs"
FIGURES, PAGE = DOCS / "generation.json", DOCS / "behaviour.md"
Drafts = Mapping[str, Sequence[int]]
COMPARED = ("single_drafted", "batched", "shared", "drafted")
LONG_PROMPTS, LONG_TOKENS = 60, 1500


def answer(
    path: Path,
    questions: Sequence[AnyQuestion],
    runtime: RuntimeSettings,
    settings: GenerationSettings,
    drafts: Drafts | None = None,
) -> Generation:
    with GreedyEngine([path], runtime, settings) as engine:
        return engine.generate(questions, drafts)


def first_difference(one: Transcript, other: Transcript) -> int | None:
    pairs = enumerate(zip_longest(one.tokens, other.tokens))
    return next((place for place, (left, right) in pairs if left != right), None)


def compare(path: Path, questions: Sequence[Question], options: argparse.Namespace, drafts: Drafts) -> dict[str, Any]:
    runtime = RuntimeSettings(threads=options.threads)
    together = GenerationSettings(max_parallel=options.parallel, draft_tokens=options.draft_tokens)
    single = replace(together, max_parallel=1, speculative=False)
    ways: dict[str, Callable[[], Generation]] = {
        "single": lambda: answer(path, questions, runtime, single),
        "single_drafted": lambda: answer(path, questions, runtime, replace(together, max_parallel=1), drafts),
        "batched": lambda: answer(path, questions, runtime, replace(together, speculative=False)),
        "shared": lambda: answer(path, questions, runtime, replace(together, lanes=False), drafts),
        "drafted": lambda: answer(path, questions, runtime, together, drafts),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    kept: dict[str, list[Generation]] = {name: [] for name in ways}
    raw = all(question.text is not None for question in questions)
    texts: dict[str, list[str]] = {}
    for _ in range(options.rounds):
        if raw:
            for name, by in (("library", answer_by_library), ("loop", answer_by_loop)):
                speed, texts[name] = by(path, questions, runtime.resolved_threads())
                speeds.setdefault(name, []).append(speed)
        for name, run in ways.items():
            kept[name].append(run())
            speeds[name].append(kept[name][-1].tokens_per_second)
    expected = kept["single"][0].transcripts
    found: dict[str, Any] = {
        "questions": len(questions),
        "tokens": sum(len(each.tokens) for each in expected),
        "tokens_per_second": {name: round(max(values), 1) for name, values in speeds.items()},
        "ratio_to_single": round(max(speeds["drafted"]) / max(speeds["single"]), 2),
        "accepted_draft_tokens": kept["drafted"][0].accepted_draft_tokens,
        "repeatable": {name: len({run.transcripts for run in runs}) == 1 for name, runs in kept.items()},
        "batch_shape": kept["drafted"][0].batch_shape,
    }
    if raw:
        for name, made in texts.items():
            found[f"ratio_to_{name}"] = round(max(speeds["drafted"]) / max(speeds[name]), 2)
            found[f"texts_unlike_{name}"] = sum(
                text != each.text for text, each in zip(made, expected, strict=True)
            )  # fmt: skip
    for name in COMPARED:
        found_now = kept[name][0].transcripts
        places = [first_difference(one, other) for one, other in zip(expected, found_now, strict=True)]
        found[f"{name}_differences"] = {
            question.id: place for question, place in zip(questions, places, strict=True) if place is not None
        }
        pairs = zip(verdicts(questions, expected), verdicts(questions, found_now), strict=True)
        found[f"{name}_other_verdicts"] = {
            question.id: f"{one} -> {other}"
            for question, (one, other) in zip(questions, pairs, strict=True)
            if one != other
        }
    return found


def verdicts(questions: Sequence[Question], transcripts: Sequence[Transcript]) -> list[str]:
    """Solved and how the answer ended, each."""
    return [
        f"{judge(question.prompt, each.text).passed} {each.ending.verdict.value}"
        for question, each in zip(questions, transcripts, strict=True)
    ]


def loop_saving(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    asked = [
        Asked(f"{kind}-{number}", None, text, "on", LONG_TOKENS)
        for number, (kind, text) in enumerate(long_prompts(LONG_PROMPTS))
    ]
    runtime = RuntimeSettings(threads=options.threads)
    settings = GenerationSettings(max_parallel=options.parallel, ctx_size=options.parallel * (LONG_TOKENS + 200))
    stopped = answer(path, asked, runtime, settings)
    whole = answer(path, asked, runtime, replace(settings, stop_loops=False))
    tokens = [sum(len(each.tokens) for each in run.transcripts) for run in (stopped, whole)]
    loops = [
        sum(each.ending.verdict in (Verdict.LOOP, Verdict.NEAR_LOOP) for each in run.transcripts)
        for run in (stopped, whole)
    ]
    return {
        "prompts": len(asked),
        "max_tokens": LONG_TOKENS,
        "loops": {"stopped_early": loops[0], "run_to_the_limit": loops[1]},
        "tokens": {"stopped_early": tokens[0], "run_to_the_limit": tokens[1]},
        "tokens_saved": round(1 - tokens[0] / tokens[1], 3),
        "seconds": {"stopped_early": round(stopped.seconds, 2), "run_to_the_limit": round(whole.seconds, 2)},
    }


def speed_table(figures: dict[str, Any]) -> str:
    ways = ("library", "loop", "single", *COMPARED)
    heads = [name.replace("_", ", ") for name in ways]
    lines = [
        f"| model | {' | '.join(heads)} | drafted / library | drafted / loop | foretold "
        f"| other answers, other verdicts: {' | '.join(heads[3:])} |",
        "|---" * (len(ways) + 4 + len(COMPARED)) + "|",
    ]
    for name, each in figures["models"].items():
        cells = [name, *(f"{each['tokens_per_second'][way]:,.0f}" for way in ways)]
        cells += [f"{each['ratio_to_library']:.2f}", f"{each['ratio_to_loop']:.2f}"]
        cells.append(f"{each['accepted_draft_tokens'] / each['tokens']:.0%}")
        cells += [f"{len(each[f'{way}_differences'])}, {len(each[f'{way}_other_verdicts'])}" for way in COMPARED]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES = (speed_table,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, default=FOLDER.parent / "prompts" / "demo.yaml")
    parser.add_argument("--model", type=Path, default=FOLDER / "model" / "demo-F16.gguf")
    parser.add_argument("--candidates", default="Q8_0,Q4_K_M,Q3_K_S,Q2_K")
    parser.add_argument("--limit", type=int, help="questions of the suite, evenly chosen; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="as -t; one per physical core by default")
    parser.add_argument("--parallel", type=int, default=GenerationSettings().max_parallel)
    parser.add_argument("--draft-tokens", type=int, default=GenerationSettings().draft_tokens)
    parser.add_argument("--publish", action="store_true", help="write the figures and the table of docs/")
    options = parser.parse_args()
    questions: Sequence[Question] = load_suite(options.suite).questions()
    if options.limit is not None:
        questions = questions[:: max(1, len(questions) // options.limit)][: options.limit]
    runtime = RuntimeSettings(threads=options.threads)
    settings = GenerationSettings(max_parallel=options.parallel)
    reference = answer(options.model, questions, runtime, settings)
    drafts = {each.question_id: each.tokens for each in reference.transcripts}
    models: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for preset in ["F16", *filter(None, options.candidates.split(","))]:
            path = options.model
            if models:
                path = Path(folder) / f"{preset}.gguf"
                quantize(options.model, path, preset)
            models[preset] = compare(path, questions, options, drafts)
            print(preset, json.dumps(models[preset], indent=1), flush=True)
        saving = {"model": preset, **loop_saving(path, options)}
    figures = {"models": models, "early_loop_stop": saving}
    print(speed_table(figures), json.dumps(saving, indent=1), sep="\n\n")
    if options.publish:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), TABLES, figures), encoding="utf-8")


if __name__ == "__main__":
    main()
