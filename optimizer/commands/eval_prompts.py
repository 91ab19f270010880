"""`layerquant eval --prompts`: what a GGUF solves of a suite, how its answers end, where they leave the reference's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.markup import escape
from rich.table import Table

from evaluators.behaviour.intervals import PairedTest
from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.record import transcript_lines
from evaluators.behaviour.scores import Count, Scores, compare, score
from evaluators.evaluator import Evaluator
from evaluators.generation.settings import GenerationSettings
from evaluators.prompts.suite import Suite, load_suite
from optimizer.commands.shown import err, out
from optimizer.export.report_prompts import PromptReport
from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import find_suite
from optimizer.progress import Reporter
from optimizer.search.behaviour import BehaviourMeasurer, Subject
from optimizer.search.suites import Questions, read_template
from optimizer.store import Store
from optimizer.text_files import write_text


@dataclass(frozen=True)
class PromptOptions:
    """`studies`: a folder whose database keeps the answers; None keeps nothing."""

    suite: Suite
    settings: GenerationSettings
    transcripts: Path | None
    studies: Path | None
    page: Path | None = None

    @classmethod
    def given(
        cls,
        suite: str,
        transcripts: Path | None = None,
        chat_template: Path | None = None,
        parallel: int | None = None,
        studies: Path | None = None,
        page: Path | None = None,
    ) -> Self:
        """As written on a command line. Raises ConfigError or SuiteError where a file cannot be used."""
        changes: dict[str, Any] = {}
        if chat_template is not None:
            changes["chat_template"] = read_template(chat_template)
        if parallel is not None:
            changes["max_parallel"] = parallel
        return cls(load_suite(find_suite(suite)), GenerationSettings(**changes), transcripts, studies, page)


@dataclass(frozen=True)
class PromptEvaluation:
    suite: Suite
    candidate: BehaviourResult
    reference: BehaviourResult | None

    @property
    def scores(self) -> Scores:
        return score(self.candidate.prompts, self.reference.transcripts if self.reference else None)

    @property
    def paired(self) -> PairedTest | None:
        return compare(self.candidate.prompts, self.reference.prompts) if self.reference else None

    def as_json(self) -> dict[str, Any]:
        """The object `prompts` of `eval --json`; its `reference` and `paired` are null without a reference model."""
        paired = self.paired
        return {
            "suite": self.suite.name,
            "suite_sha256": self.suite.sha256,
            **self.scores.as_json(),
            "generation": dict(self.candidate.generation),
            "reference": score(self.reference.prompts).as_json() if self.reference else None,
            "paired": None
            if paired is None
            else {
                "gained": paired.gained,
                "lost": paired.lost,
                "compared": paired.compared,
                "p_value": paired.p_value,
            },
        }

    def write_transcripts(self, path: Path) -> None:
        """Every answer as a line of JSON, the candidate's first."""
        theirs = self.reference.transcripts if self.reference else None
        lines = transcript_lines(self.candidate, "candidate", theirs)
        lines += transcript_lines(self.reference, "reference") if self.reference else []
        write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))

    def write_page(self, path: Path, candidate: ModelFile, reference: ModelFile | None) -> None:
        """The answers side by side, as an HTML file."""
        from optimizer.export.answers import Named, show_answers  # Jinja2: not for who wants figures alone
        from optimizer.export.answers_page import answers_page

        name = candidate.paths[0].name
        figures = self.as_json()
        rows = [{"kind": "candidate", "name": name, **figures, "paired": None}]
        theirs = None
        if reference is not None and self.reference is not None:
            its_name = reference.paths[0].name
            its_name = f"{its_name} (reference)" if its_name == name else its_name
            theirs = Named(its_name, self.reference)
            rows.insert(0, {"kind": "reference", "name": its_name, **figures["reference"], "paired": figures["paired"]})
        prompts = PromptReport.from_json({"suite": self.suite.name, "rows": rows})
        assert prompts is not None, "a document gives a report"
        answers = show_answers(Named(name, self.candidate), theirs, suite=self.suite)
        write_text(path, answers_page(" against ".join(answers.names[::-1]), prompts, answers))


def evaluate_prompts(
    evaluator: Evaluator, candidate: ModelFile, reference: ModelFile | None, options: PromptOptions, reporter: Reporter
) -> PromptEvaluation:
    """The reference's answers first: they are the candidate's drafts."""
    with _store(options.studies) as store:
        source = _subject(reference) if reference is not None else None
        measurer = BehaviourMeasurer(
            evaluator, options.settings, source, store=store,
            progress=lambda label: lambda done, total: reporter.work(done, total, label),
        )  # fmt: skip
        whole = Questions(options.suite)
        reporter.phase(f"prompts of {options.suite.name}", 1 + (reference is not None))
        theirs = measurer.source(whole)
        reporter.advance(int(reference is not None))
        found = PromptEvaluation(options.suite, measurer.measure(_subject(candidate), whole, "candidate"), theirs)
    if options.transcripts is not None:
        found.write_transcripts(options.transcripts)
        err().print(f"written: {escape(str(options.transcripts))}")
    if options.page is not None:
        found.write_page(options.page, candidate, reference)
        err().print(f"written: {escape(str(options.page))}")
    return found


def show_prompts(found: PromptEvaluation) -> None:
    """A table for people, and what the paired test says."""
    columns = [found.scores]
    if found.reference is not None:
        columns.append(score(found.reference.prompts))
    table = Table(title=f"prompts of {found.suite.name}", title_justify="left", box=None, pad_edge=False)
    for name in ("", "candidate", "reference")[: len(columns) + 1]:
        table.add_column(name, justify="left", no_wrap=True)
    table.add_row("solved", *(_with_interval(each.count) for each in columns))
    for category in columns[0].by_category:
        table.add_row(f"  {escape(category)}", *(_count(each.by_category[category]) for each in columns))
    for title, name in (
        ("never end (loops)", "loops"), ("  of these near loops", "near_loops"), ("out of tokens", "out_of_tokens"),
        ("tokens generated", "generated_tokens"), ("  in thinking", "thinking_tokens"),
    ):  # fmt: skip
        table.add_row(title, *(f"{getattr(each, name):,}" for each in columns))
    console = out()
    console.print(table)
    for line in _compared(found):
        console.print(line, soft_wrap=True)


def _compared(found: PromptEvaluation) -> list[str]:
    lines = []
    missing = found.scores.count.unavailable
    if missing:
        answers = [answer for prompt in found.candidate.prompts for answer in prompt.answers if answer.passed is None]
        reasons = "; ".join(sorted({reason for answer in answers for reason in answer.reasons}))
        lines.append(f"{missing} prompts could not be judged here and count as not solved: {escape(reasons)}")
    agreement, paired = found.scores.agreement, found.paired
    if agreement is None or paired is None:
        return lines
    at = agreement.median_first_divergence
    lines.append(
        f"agrees with the reference on {agreement.tokens:,} of its {agreement.reference_tokens:,} tokens "
        f"({100 * agreement.share:.1f} %); {agreement.identical} of {len(agreement.divergences)} answers are identical"
        + ("" if at is None else f", the others part at token {at:g} in the median")
    )
    lines.append(
        f"against the reference, on {paired.compared} prompts: {paired.gained} gained, {paired.lost} lost; "
        f"p = {paired.p_value:.2g} (exact McNemar test)"
    )
    return lines


def _count(count: Count) -> str:
    return f"{count.solved} of {count.total}" + (f", {count.unavailable} unavailable" if count.unavailable else "")


def _with_interval(count: Count) -> str:
    interval = count.interval
    return f"{_count(count)} ({100 * interval.low:.0f}-{100 * interval.high:.0f} %)"


def _subject(model: ModelFile) -> Subject:
    return Subject(model.fingerprint, lambda: model.paths)


@contextmanager
def _store(studies: Path | None) -> Iterator[Store | None]:
    if studies is None:
        yield None
        return
    with Store.open(studies) as store:
        yield store
