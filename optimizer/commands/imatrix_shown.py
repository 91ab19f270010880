"""What is printed of an importance matrix: its statistics as tables, its coverage as lines."""

from typing import Any

from rich.table import Table

from optimizer.quantization.imatrix_coverage import Coverage
from optimizer.quantization.imatrix_statistics import ImatrixStatistics

_NAMES_SHOWN = 6


def weight_table(statistics: ImatrixStatistics) -> Table:
    """llama-imatrix's columns and digits."""
    table = Table(title="weights, by role and Σ(Act²)", title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", justify="right")
    table.add_column("tensor")
    for name in ("Σ(Act²)", "min", "max", "μ", "σ", "% active", "N", "entropy", "E (norm)", "ZD", "CosSim"):
        table.add_column(name, justify="right")
    for each in statistics.weights:
        table.add_row(
            "-" if each.layer is None else str(each.layer), each.role, f"{each.total:.2f}", f"{each.minimum:.4f}",
            f"{each.maximum:.4f}", f"{each.mean:.2f}", f"{each.sigma:.2f}", f"{100 * each.active:.2f}%",
            str(each.columns), f"{each.entropy:.4f}", f"{100 * each.entropy_normalised:.2f}%", f"{100 * each.zd:.2f}%",
            f"{each.cosine:.4f}",
        )  # fmt: skip
    return table


def layer_table(statistics: ImatrixStatistics) -> Table:
    """Means over each layer's weights, weighted by their columns."""
    table = Table(title="layers", title_justify="left", box=None, pad_edge=False)
    for name in ("layer", "μΣ(Act²)", "μZD", "μCosSim"):
        table.add_column(name, justify="right")
    for each in statistics.layers:
        table.add_row(str(each.layer), f"{each.total:.2f}", f"{100 * each.zd:.4f}%", f"{each.cosine:.4f}")
    return table


def coverage_lines(coverage: Coverage, *, of_model: bool = True) -> list[str]:
    """What is not covered and what that forbids, in a few lines."""
    lines = []
    if of_model:
        total = coverage.covered + len(coverage.missing)
        lines.append(f"coverage: {coverage.covered} of the model's {total} quantizable weights have data")
    for types, names in coverage.forbidden.items():
        forbidden = f"cannot be {', '.join(types)}" if types else "any type"
        lines.append(f"without data, {forbidden}: {_some(names)}")
    for weight in coverage.experts:
        lines.append(
            f"{weight.name}: {len(weight.without_data)} of {weight.total} experts were never called "
            f"({_some(tuple(map(str, weight.without_data)))}); they are quantized as if every column mattered alike"
        )
    if of_model and coverage.unknown:
        lines.append(f"no tensor of this model: {_some(coverage.unknown)}")
    return lines


def coverage_object(coverage: Coverage, *, of_model: bool = True) -> dict[str, Any]:
    """For --json. Without a model only the experts are known."""
    found: dict[str, Any] = {
        "experts": [
            {"weight": each.name, "experts": each.total, "without_data": list(each.without_data)}
            for each in coverage.experts
        ]
    }
    if of_model:
        found |= {
            "covered": coverage.covered,
            "missing": [{"weight": name, "forbidden": list(types)} for name, types in coverage.missing.items()],
            "unknown": list(coverage.unknown),
        }
    return found


def _some(names: tuple[str, ...]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
