"""Prompts of a report, in lines for a terminal."""

from optimizer.export.report_prompts import PromptReport
from tests.export.reports import PROMPTS


def test_every_file_has_its_line_and_its_paired_test() -> None:
    seen = PromptReport.from_json(PROMPTS)
    assert seen is not None
    title, source, winner, preset = seen.lines()
    assert "core/report" in title
    assert "the winner against it: 1 gained, 2 lost, p = 1" in source
    assert "against" not in winner
    assert preset.startswith(
        "  IQ4_XS (preset): solved 16 of 24 (50-90 %), 1 unavailable, never end 1, out of tokens 3;"
    )


def test_a_winner_that_the_gate_kept_out_is_called_so() -> None:
    seen = PromptReport.from_json({**PROMPTS, "kept_out": "never ends on p3, where the source does"})
    assert seen is not None
    assert "never ends on p3" in seen.lines()[-1]


def test_reports_without_prompts_have_none() -> None:
    assert PromptReport.from_json(None) is None


def test_a_suite_with_nothing_left_for_the_report_says_so_and_has_no_figures() -> None:
    seen = PromptReport.from_json({**PROMPTS, "suite": "one/report", "rows": []})
    assert seen is not None
    assert seen.lines() == ["prompts of one/report: none are left to report on, the search chose by all of the suite"]
