"""Answers written in a file, judged as if a model had given them: `layerquant prompts check --answers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluators.prompts.checks import Judgement, judge
from evaluators.prompts.located_yaml import LocatedYaml
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.suite import Suite


@dataclass(frozen=True, slots=True)
class PromptVerdict:
    """`judgement` is None where a question of the prompt has no answer in the file."""

    prompt_id: str
    category: str
    judgement: Judgement | None


def read_answers(path: Path, suite: Suite) -> Mapping[str, str]:
    """A mapping in YAML or JSON, question id -> text; raises SuiteError on an id that the suite does not ask."""
    document = LocatedYaml.read(path)
    if not isinstance(document.data, dict):
        raise document.error((), "answers are a mapping of question ids to texts")
    asked = {question.id for question in suite.questions()}
    for name, text in document.data.items():
        if name not in asked:
            raise document.error((str(name),), f"the suite {suite.name} asks no question {name!r}")
        if not isinstance(text, str):
            raise document.error((name,), f"{name}: an answer is text; put it in quotes")
    return document.data


def judge_answers(suite: Suite, answers: Mapping[str, str], sandbox: Sandbox | None = None) -> list[PromptVerdict]:
    """One verdict a prompt, in the suite's order; a multiple choice passes where both its questions do."""
    verdicts = []
    for prompt in suite.prompts:
        questions = [question for question in suite.questions() if question.prompt_id == prompt.id]
        judgement = None
        if all(question.id in answers for question in questions):
            judgement = Judgement.all_of(judge(each.prompt, answers[each.id], sandbox) for each in questions)
        verdicts.append(PromptVerdict(prompt.id, prompt.category, judgement))
    return verdicts
