"""Answers of any one or two models to a suite of prompts as an HTML file that needs no network."""

from optimizer.export.answers import Answers
from optimizer.export.page_templates import page_templates
from optimizer.export.report_prompts import PromptReport


def answers_page(title: str, prompts: PromptReport, answers: Answers) -> str:
    """The page's text. prompts: the models' figures, of the kinds `candidate` and `reference`."""
    return page_templates().get_template("eval.html.j2").render(title=title, prompts=prompts, answers=answers)
