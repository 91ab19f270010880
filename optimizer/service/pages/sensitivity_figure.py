"""What each part of a model costs when it alone is degraded, as Plotly's JSON: a bar a part, dearest first."""

from collections.abc import Iterable, Mapping
from typing import Any

from optimizer.export.number_text import kld_text
from optimizer.export.report_figure import Figure

MOST = 40
"""Bars: the others are the ones that matter least."""
UNIFORM = "uniform"
"""The unit of the rows that measure a whole model at one type."""


def sensitivity_figure(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """rows: as `/api/studies/STUDY/sensitivities` lists them; of a part with several probes the dearest is shown."""
    parts: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        known = parts.get(row["unit"])
        if row["unit"] != UNIFORM and (known is None or row["kld"] > known["kld"]):
            parts[row["unit"]] = row
    shown = sorted(parts.values(), key=lambda row: -row["kld"])[:MOST]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": [row["unit"] for row in shown],
                "x": [row["kld"] for row in shown],
                "error_x": {"type": "data", "array": [row["standard_error"] or 0 for row in shown], "width": 0},
                "hovertext": [
                    f"{row['unit']} at {row['probe_type']}<br>KLD {kld_text(row['kld'], row['standard_error'])}"
                    for row in shown
                ],
                "hoverinfo": "text",
                "marker": {"color": "#0072b2"},
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "KLD with this part alone degraded (nats per token)"}, "rangemode": "tozero"},
            "yaxis": {"autorange": "reversed", "automargin": True, "dtick": 1},
            "margin": {"l": 110, "r": 20, "t": 10, "b": 50},
            "height": 120 + 20 * len(shown),
        },
        "parts": len(parts),
    }
