"""Shares with their intervals, one row each, as an SVG that reads on light and dark pages."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_LEFT, _RIGHT, _ROW, _WIDTH = 90, 60, 26, 640


class Row(NamedTuple):
    """`share` with its interval, all 0 to 1."""

    name: str
    share: float
    low: float
    high: float
    note: str


def draw(rows: Sequence[Row], title: str) -> str:
    span, height = _WIDTH - _LEFT - _RIGHT, 36 + _ROW * len(rows) + 26

    def x(share: float) -> str:
        return f"{_LEFT + span * share:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13"><title>{escape(title)}</title>',
        f'<text x="{_LEFT}" y="18" fill="#808080">{escape(title)}</text>',
    ]
    bottom = 36 + _ROW * len(rows)
    for tenth in range(0, 11, 2):
        place = x(tenth / 10)
        parts.append(f'<line x1="{place}" x2="{place}" y1="28" y2="{bottom}" stroke="#808080" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{place}" y="{bottom + 18}" fill="#808080" text-anchor="middle">{tenth * 10} %</text>')
    for number, row in enumerate(rows):
        y = 36 + _ROW * number + _ROW / 2
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" fill="#808080" text-anchor="end">{escape(row.name)}</text>'
            f'<line x1="{x(row.low)}" x2="{x(row.high)}" y1="{y:.1f}" y2="{y:.1f}" stroke="#3b82c4" stroke-width="3"/>'
            f'<circle cx="{x(row.share)}" cy="{y:.1f}" r="5" fill="#3b82c4"/>'
            f'<text x="{_WIDTH - _RIGHT + 12}" y="{y + 4:.1f}" fill="#808080">{escape(row.note)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
