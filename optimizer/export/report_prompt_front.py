"""KLD against prompts solved, as a report shows it: frozen values, and lines for a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptFrontRow:
    """One trial that no other beats on both. KLD in nats per token; `solved` texts are counts of the half's prompts."""

    name: str
    size_bytes: int
    search_kld: float
    search_solved: str
    report_kld: float
    report_kld_standard_error: float
    report_solved: str
    kept_out: str | None


def prompt_front_rows(document: object) -> tuple[PromptFrontRow, ...]:
    """Of a report's `prompt_front`; none where the report has none."""
    return tuple(_row(each) for each in document) if isinstance(document, list | tuple) else ()


def prompt_front_lines(rows: tuple[PromptFrontRow, ...]) -> list[str]:
    if not rows:
        return []
    lines = ["KLD against prompts solved, the trials that no other beats on both (search; report):"]
    for row in rows:
        out = ", kept out by the gate" if row.kept_out is not None else ""
        lines.append(
            f"  {row.name}, {row.size_bytes:,} bytes: KLD {row.search_kld:.6f}, solved {row.search_solved}; "
            f"KLD {row.report_kld:.6f} ± {row.report_kld_standard_error:.6f}, solved {row.report_solved}{out}"
        )
    return lines


def _row(document: Mapping[str, Any]) -> PromptFrontRow:
    search, report = document["search"], document["report"]
    name = f"trial {document['trial']}" + (f" = {document['name']}" if document.get("name") else "")
    return PromptFrontRow(
        name=name,
        size_bytes=int(document["size_bytes"]),
        search_kld=float(search["mean_kld"]),
        search_solved=f"{search['solved']} of {search['total']}",
        report_kld=float(report["mean_kld"]),
        report_kld_standard_error=float(report["mean_kld_standard_error"]),
        report_solved=_solved(report.get("prompts")),
        kept_out=document.get("kept_out"),
    )


def _solved(prompts: Mapping[str, Any] | None) -> str:
    if prompts is None:
        return "none are left"
    low, high = prompts["solved_interval"]
    unavailable = f", {prompts['unavailable']} unavailable" if prompts["unavailable"] else ""
    return f"{prompts['solved']} of {prompts['total']} ({100 * low:.0f}-{100 * high:.0f} %){unavailable}"
