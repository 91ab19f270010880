"""Two more figures of a report page as Plotly's JSON: forecasts against measurements, and the front over tokens."""

from typing import Any

from optimizer.export.number_text import kld_text
from optimizer.export.report_findings import Forecasts, ParetoFront

Figure = dict[str, Any]
_BLUE, _ORANGE = "#0072b2", "#d55e00"


def predicted_against_measured(forecasts: Forecasts) -> Figure:
    """Each own trial's KLD as predicted before it ran, and as measured; on the line, the forecast was right."""
    shown = [each for each in forecasts.trials if each[1] > 0 and each[2] > 0]  # logarithmic axes
    values = [value for _, predicted, measured in shown for value in (predicted, measured)]
    ends = [min(values, default=1e-6), max(values, default=1.0)]
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines", "name": "right", "x": ends, "y": ends, "hoverinfo": "skip",
                "line": {"width": 1, "dash": "dot", "color": "{muted}"},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "trials",
                "x": [predicted for _, predicted, _ in shown],
                "y": [measured for _, _, measured in shown],
                "hovertext": [
                    f"trial {trial}<br>predicted {kld_text(predicted)}<br>measured {kld_text(measured)}"
                    for trial, predicted, measured in shown
                ],
                "hoverinfo": "text",
                "marker": {"color": _BLUE, "size": 8, "opacity": 0.75},
            },
        ],
        "layout": {
            "xaxis": {"title": {"text": "predicted KLD (nats per token)"}, "type": "log", "exponentformat": "power"},
            "yaxis": {"title": {"text": "measured KLD"}, "type": "log", "exponentformat": "power"},
            "showlegend": False,
            "margin": {"l": 80, "r": 20, "t": 10, "b": 60},
            "height": 400,
        },
    }  # fmt: skip


def volume_over_tokens(front: ParetoFront) -> Figure:
    """Hypervolume of the files found so far over the tokens evaluated; it stays level until a file improves it."""
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "x": [tokens for tokens, _ in front.over_tokens],
                "y": [volume for _, volume in front.over_tokens],
                "line": {"shape": "hv", "color": _ORANGE},
                "hovertemplate": "%{x:,} tokens: %{y:.4s}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "tokens evaluated"}, "exponentformat": "SI"},
            "yaxis": {"title": {"text": "hypervolume (bytes x nats)"}, "exponentformat": "SI"},
            "margin": {"l": 80, "r": 20, "t": 10, "b": 60},
            "height": 320,
        },
    }
