"""A study's report as one HTML file that needs no network: Plotly and all data are inside."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plotly.offline import get_plotlyjs

from optimizer.export.answers import Answers
from optimizer.export.findings_figure import predicted_against_measured, volume_over_tokens
from optimizer.export.layer_map import LayerMap, layer_map
from optimizer.export.page_templates import page_templates
from optimizer.export.report_figure import damage_over_bytes, type_map
from optimizer.export.report_view import Front, Report, ReportRow


def report_page(
    report: Report, recipes: Sequence[Mapping[str, str]] = (), answers: Sequence[Answers | None] = ()
) -> str:
    """The page's text.

    Args:
        recipes: the winners' tensor types, one for each of the report's budgets; without them the maps are left out.
        answers: to the report's prompts, one for each of its budgets; None where there are none.
    """
    maps: list[LayerMap | None] = [layer_map(types) for types in recipes] or [None] * len(report.fronts)
    figures = {"damage": damage_over_bytes(report.fronts)}
    if report.pareto is not None and report.pareto.over_tokens:
        figures["volume"] = volume_over_tokens(report.pareto)
    if report.forecasts is not None and report.forecasts.trials:
        figures["forecasts"] = predicted_against_measured(report.forecasts)
    sections = []
    shown = answers or [None] * len(report.fronts)
    for number, (front, layers, said) in enumerate(zip(report.fronts, maps, shown, strict=True)):
        if layers is not None and layers.roles:
            figures[f"map-{number}"] = type_map(layers)
        rows = _rows(report, front)
        sections.append({"number": number, "front": front, "rows": rows, "map": layers, "answers": said})
    return (
        page_templates()
        .get_template("report.html.j2")
        .render(report=report, sections=sections, figures=_script_json(figures), plotly=get_plotlyjs())
    )


def _rows(report: Report, front: Front) -> list[ReportRow]:
    rows = [*front.baselines, front.best, *([report.reference] if report.reference else [])]
    return sorted(rows, key=lambda row: (row.size_bytes, row.mean_kld))


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
