"""The two figures of a report page as Plotly's JSON: damage over bytes, and the map of types by layer.

Colours that depend on light or dark are names in braces; the page puts its own in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from optimizer.export.layer_map import LayerMap
from optimizer.export.number_text import kld_text, size_text
from optimizer.export.report_view import PRESET, Front, ReportRow

Figure = dict[str, Any]

# Okabe and Ito's colours: told apart by colour-blind readers; shapes differ as well.
_WINNER = ("layerquant", "#d55e00", "star")
_K_PRESET = ("K-quant presets", "#0072b2", "circle")
_IQ_PRESET = ("IQ presets", "#009e73", "diamond")
_OTHER_PRESET = ("other presets", "#8a8f98", "square")
_OTHER = ("other baselines", "#cc79a7", "cross")


def _series(row: ReportRow) -> tuple[str, str, str]:
    if row.kind != PRESET:
        return _OTHER
    if row.name.startswith("IQ"):
        return _IQ_PRESET
    return _K_PRESET if "_K" in row.name else _OTHER_PRESET


def damage_over_bytes(fronts: Iterable[Front]) -> Figure:
    """Mean KLD (logarithmic) over file size, with standard errors, for every budget's winner and baselines."""
    points: dict[tuple[str, str, str], dict[tuple[str, int], ReportRow]] = {}
    shapes, budgets = [], []
    fronts = tuple(fronts)
    for front in fronts:
        for row in front.baselines:
            points.setdefault(_series(row), {})[row.name, row.size_bytes] = row
        points.setdefault(_WINNER, {})[f"{front.best.name} ({front.budget})", front.best.size_bytes] = front.best
        budgets.append(front.budget_bytes)
        shapes.append(
            {
                "type": "line", "x0": front.budget_bytes, "x1": front.budget_bytes, "y0": 0, "y1": 1, "yref": "paper",
                "line": {"width": 1, "dash": "dot", "color": "{muted}"},
            }
        )  # fmt: skip
    order = (_K_PRESET, _IQ_PRESET, _OTHER_PRESET, _OTHER, _WINNER)
    crowded = (_OTHER, _OTHER_PRESET) if len(fronts) > 1 else ()  # each budget has baselines of its own
    traces = [_trace(series, points[series], named=series not in crowded) for series in order if series in points]
    annotations = [
        {"x": n_bytes, "y": 1, "yref": "paper", "yanchor": "bottom", "text": "budget", "showarrow": False}
        for n_bytes in budgets
    ]
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "file size (bytes)"}, "exponentformat": "SI"},
            "yaxis": {"title": {"text": "mean KLD (nats per token)"}, "type": "log", "exponentformat": "power"},
            "legend": {"orientation": "h", "y": -0.22},
            "margin": {"l": 70, "r": 20, "t": 30, "b": 60},
            "shapes": shapes,
            "annotations": annotations,
            "height": 460,
        },
    }


def _trace(series: tuple[str, str, str], points: Mapping[tuple[str, int], ReportRow], *, named: bool) -> Figure:
    """named: with labels beside the markers, not only where the pointer is."""
    name, colour, symbol = series
    # On a logarithmic axis there is no place for zero, which the source model alone has.
    shown = [(label, row) for (label, _), row in points.items() if row.mean_kld > 0]
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers+text" if named else "markers",
        "x": [row.size_bytes for _, row in shown],
        "y": [row.mean_kld for _, row in shown],
        "text": [label for label, _ in shown],
        "textposition": "top center" if series != _WINNER else "bottom center",
        "error_y": {"type": "data", "array": [row.mean_kld_standard_error or 0 for _, row in shown], "width": 2},
        "hovertext": [
            f"{label}<br>{size_text(row.size_bytes)}<br>KLD {kld_text(row.mean_kld, row.mean_kld_standard_error)}"
            for label, row in shown
        ],
        "hoverinfo": "text",
        "marker": {"color": colour, "symbol": symbol, "size": 15 if series == _WINNER else 9},
    }


def type_map(layers: LayerMap) -> Figure:
    """One cell a tensor: layers from left to right, roles from top to bottom, darker for more bits."""
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(layers.layers),
                "y": list(layers.roles),
                "z": layers.bits,
                "text": [[kind or "" for kind in row] for row in layers.types],
                "texttemplate": "%{text}" if len(layers.layers) <= 16 else "",
                "hovertemplate": "layer %{x}, %{y}: %{text}<extra></extra>",
                "colorscale": [[0, "#deebf7"], [1, "#08519c"]],
                "xgap": 1,
                "ygap": 1,
                "colorbar": {"title": {"text": "bits"}, "thickness": 12},
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "layer"}, "dtick": 1 if len(layers.layers) <= 32 else 8},
            "yaxis": {"autorange": "reversed", "automargin": True},
            "margin": {"l": 100, "r": 10, "t": 10, "b": 50},
            "height": 120 + 34 * len(layers.roles),
        },
    }
