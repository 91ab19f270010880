"""Statistics of an importance matrix as an SVG that reads on light and dark pages: one map a figure, weights by layers.

Each map has its own scale from its least value to its greatest; what each cell says is its tooltip.
"""

from collections.abc import Callable, Sequence
from math import log10
from xml.sax.saxutils import escape

from optimizer.quantization.imatrix_statistics import ImatrixStatistics, WeightStatistics

_LEFT, _TOP, _ROW, _WIDTH, _GAP = 150, 34, 18, 920, 46
_LOW, _HIGH = (0x1F, 0x4E, 0x79), (0xF0, 0xC2, 0x3B)  # dark blue to amber: apart for colour-blind readers as well

_Figure = tuple[str, Callable[[WeightStatistics], float]]
_MAPS: Sequence[_Figure] = (
    ("mean squared activation (log10)", lambda each: log10(max(each.mean, 1e-12))),
    ("share of columns far above the mean: ZD (%)", lambda each: 100 * each.zd),
    ("entropy of the columns, of the possible (%)", lambda each: 100 * each.entropy_normalised),
    ("similarity to the block before: CosSim", lambda each: each.cosine),
)


def figure(statistics: ImatrixStatistics, title: str) -> str:
    """The SVG's text."""
    inside = [each for each in statistics.weights if each.layer is not None]
    roles = sorted({each.role for each in inside})
    layers = sorted({each.layer for each in inside if each.layer is not None})
    span = _TOP + _ROW * max(1, len(roles)) + _GAP
    height = 30 + span * len(_MAPS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title>',
        f'<text x="{_LEFT}" y="20" fill="#808080" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(_MAPS):
        parts += _map(name, value, inside, roles, layers, 30 + span * number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _map(
    name: str,
    value: Callable[[WeightStatistics], float],
    weights: Sequence[WeightStatistics],
    roles: Sequence[str],
    layers: Sequence[int],
    top: int,
) -> list[str]:
    shown = [each for each in weights if "CosSim" not in name or each.layer != layers[0]]
    values = [value(each) for each in shown]
    low, high = min(values, default=0.0), max(values, default=0.0)
    width = (_WIDTH - _LEFT - 20) / max(1, len(layers))
    parts = [
        f'<text x="{_LEFT}" y="{top + 22}" fill="#808080">{escape(name)}: {low:.3g} (dark) to {high:.3g} (light)</text>'
    ]
    for row, role in enumerate(roles):
        y = top + _TOP + _ROW * row
        parts.append(f'<text x="{_LEFT - 8}" y="{y + _ROW - 5}" fill="#808080" text-anchor="end">{escape(role)}</text>')
    for each, figure_of in zip(shown, values, strict=True):
        x, y = _LEFT + width * layers.index(each.layer or 0), top + _TOP + _ROW * roles.index(each.role)
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{max(1.0, width - 1):.1f}" height="{_ROW - 1}" '
            f'fill="{_colour(figure_of, low, high)}"><title>{escape(each.name)}: {figure_of:.4g}</title></rect>'
        )
    bottom = top + _TOP + _ROW * len(roles) + 14
    for place, layer in enumerate(layers):
        if place % max(1, -(-len(layers) // 16)) == 0:
            parts.append(
                f'<text x="{_LEFT + width * (place + 0.5):.1f}" y="{bottom}" fill="#808080" '
                f'text-anchor="middle">{layer}</text>'
            )
    return parts


def _colour(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.5
    mixed = (round(a + share * (b - a)) for a, b in zip(_LOW, _HIGH, strict=True))
    return "#" + "".join(f"{each:02x}" for each in mixed)
