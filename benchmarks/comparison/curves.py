"""A plain SVG of curves in panels, logarithmic upwards: nothing but text, so that it can be read in a diff."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 330, 300, 62, 34, 44, 26
COLORS = ("#0b62c4", "#c43c0b", "#3a8f2e", "#8a3fb0", "#b08a00", "#00838a", "#777777", "#d1478f", "#444444", "#c9a3e0")
FIRST, OTHERS = 6, 2
"""Stroke widths: the first curve lies below the others and stays seen where they cover it."""
Curve = Sequence[tuple[float, float]]


def _tick(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.001 else f"{value:g}"


def _panel(title: str, curves: Mapping[str, Curve], colors: Mapping[str, str], offset: int, x_title: str) -> list[str]:
    points = [point for curve in curves.values() for point in curve]
    right = max(x for x, _ in points)
    low, high = min(y for _, y in points) * 0.9, max(y for _, y in points) * 1.1
    inner = WIDTH - LEFT - GAP

    def x_of(value: float) -> float:
        return offset + LEFT + inner * value / right

    def y_of(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (log10(high) - log10(value)) / (log10(high) - log10(low))

    lines = [f'<text x="{offset + LEFT}" y="{TOP - 12}" class="title">{title}</text>']
    for exponent in range(floor(log10(low)), ceil(log10(high)) + 1):
        for digit in (1, 2, 5):
            value = digit * 10.0**exponent
            if low <= value <= high:
                y = y_of(value)
                ends = f'x1="{x_of(0):.1f}" x2="{x_of(right):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
                lines.append(f'<line {ends} class="grid"/>')
                lines.append(f'<text x="{x_of(0) - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>')
    for share in (0.0, 0.5, 1.0):
        x = x_of(share * right)
        text = f"{share * right / 1000:.0f}k"
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>')
    lines.append(f'<text x="{x_of(right / 2):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{x_title}</text>')
    for index, (name, curve) in enumerate(curves.items()):
        stroke = OTHERS if index else FIRST
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in curve)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colors[name]}" stroke-width="{stroke}"/>')
        lines += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{colors[name]}"/>' for x, y in curve]
    return lines


def draw(panels: Mapping[str, Mapping[str, Curve]], x_title: str) -> str:
    """Panel title -> curve name -> points (x from 0, y above 0). Curves of one name have one colour."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    width = WIDTH * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 26}" font-family="sans-serif">',
        "<style>text{font-size:12px;fill:#333}.title{font-weight:bold;font-size:13px}.grid{stroke:#ddd}</style>",
        f'<rect width="{width}" height="{HEIGHT + 26}" fill="#fff"/>',
    ]
    for index, (title, curves) in enumerate(panels.items()):
        lines += _panel(title, curves, colors, index * WIDTH, x_title)
    x = LEFT
    for name in names:
        lines.append(f'<rect x="{x}" y="{HEIGHT + 8}" width="14" height="4" fill="{colors[name]}"/>')
        lines.append(f'<text x="{x + 18}" y="{HEIGHT + 14}">{name}</text>')
        x += 34 + 7 * len(name)
    return "\n".join([*lines, "</svg>", ""])
