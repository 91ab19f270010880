"""`layerquant prompts check`: validates a suite of prompts, and runs its checks on answers written in a file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from evaluators.prompts.given_answers import PromptVerdict, judge_answers, read_answers
from evaluators.prompts.suite import Suite, load_suite
from optimizer.commands.options import Json
from optimizer.commands.shown import out, print_json
from optimizer.named_files import find_suite

app = typer.Typer(help="Prompt suites.", no_args_is_help=True)


@app.callback()
def prompts() -> None:
    """Prompt suites."""


@app.command()
def check(
    suite: Annotated[str, typer.Argument(help="A suite: a file, or the name of a shipped one.", show_default=False)],
    answers: Annotated[
        Path | None, typer.Option("--answers", help="YAML or JSON, question id -> answer: judge these.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate a suite of prompts; with --answers, run its checks on them. Loads no model."""
    loaded = load_suite(find_suite(suite))
    verdicts = None if answers is None else judge_answers(loaded, read_answers(answers, loaded))
    if as_json:
        print_json(_summary(loaded) | ({} if verdicts is None else _judged(verdicts)))
    else:
        _show(loaded, verdicts)


def _summary(suite: Suite) -> dict[str, Any]:
    search, report = suite.halves()
    return {
        "suite": suite.name,
        "sha256": suite.sha256,
        "prompts": len(suite.prompts),
        "questions": len(suite.questions()),
        "categories": dict(sorted(Counter(prompt.category for prompt in suite.prompts).items())),
        "search_half": [prompt.id for prompt in search.prompts],
        "report_half": [prompt.id for prompt in report.prompts],
    }


def _judged(verdicts: Sequence[PromptVerdict]) -> dict[str, Any]:
    """Totals, and each prompt's verdict: passed, failed, unavailable (could not be judged here) or missing."""
    words = Counter(_word(verdict) for verdict in verdicts)
    rows = [
        {
            "id": verdict.prompt_id,
            "category": verdict.category,
            "verdict": _word(verdict),
            "reasons": [] if verdict.judgement is None else list(verdict.judgement.reasons),
        }
        for verdict in verdicts
    ]
    return {"answers": {word: words[word] for word in ("passed", "failed", "unavailable", "missing")}, "verdicts": rows}


def _word(verdict: PromptVerdict) -> str:
    if verdict.judgement is None:
        return "missing"
    return {True: "passed", False: "failed", None: "unavailable"}[verdict.judgement.passed]


def _show(suite: Suite, verdicts: Sequence[PromptVerdict] | None) -> None:
    console = out()
    summary = _summary(suite)
    by_category = ", ".join(f"{count} {category}" for category, count in summary["categories"].items())
    console.print(f"{suite.name}: {summary['prompts']} prompts ({by_category}), {summary['questions']} generations")
    console.print(f"search half {len(summary['search_half'])}, report half {len(summary['report_half'])}")
    if verdicts is None:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("prompt", "category", "verdict", "why"):
        table.add_column(column, overflow="fold")
    for verdict in verdicts:
        reasons = verdict.judgement.reasons if verdict.judgement else ()
        table.add_row(verdict.prompt_id, verdict.category, _word(verdict), escape("; ".join(reasons)))
    console.print(table)
    totals = _judged(verdicts)["answers"]
    console.print(", ".join(f"{count} {word}" for word, count in totals.items() if count or word == "passed"))
