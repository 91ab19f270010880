"""What a report says of prompts, as frozen values: the source, the winner and the best preset on the report half."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One file's answers. `paired`: the winner's (gained, lost, p) against it; None for the winner itself."""

    kind: str
    """`source`, `winner` or `preset`; of two models alone `reference` and `candidate`."""
    name: str
    solved: int
    total: int
    unavailable: int
    low: float
    high: float
    loops: int
    out_of_tokens: int
    generated_tokens: int
    agreement: float | None
    """Share of the source's tokens before the first divergence."""
    paired: tuple[int, int, float] | None

    @property
    def solved_text(self) -> str:
        unavailable = f", {self.unavailable} unavailable" if self.unavailable else ""
        return f"{self.solved} of {self.total} ({100 * self.low:.0f}-{100 * self.high:.0f} %){unavailable}"

    @property
    def paired_text(self) -> str:
        if self.paired is None:
            return ""
        gained, lost, p_value = self.paired
        return f"{gained} gained, {lost} lost, p = {p_value:.2g}"


@dataclass(frozen=True, slots=True)
class PromptReport:
    suite: str
    rows: tuple[PromptRow, ...]
    kept_out: str | None
    """Why the gate stayed shut for the winner, where it let nobody through."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "PromptReport | None":
        if not document:
            return None
        return cls(str(document["suite"]), tuple(_row(each) for each in document["rows"]), document.get("kept_out"))

    @property
    def nothing_left(self) -> str:
        """What is said where there are no rows."""
        return f"prompts of {self.suite}: none are left to report on, the search chose by all of the suite"

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = [f"prompts of {self.suite}, which the search never saw:" if self.rows else self.nothing_left]
        for row in self.rows:
            against = f"; the winner against it: {row.paired_text}" if row.paired else ""
            lines.append(
                f"  {row.name} ({row.kind}): solved {row.solved_text}, never end {row.loops}, "
                f"out of tokens {row.out_of_tokens}{against}"
            )
        if self.kept_out is not None:
            lines.append(f"  the gate let nobody through; the winner was kept out too: {self.kept_out}")
        return lines


def _row(document: Mapping[str, Any]) -> PromptRow:
    low, high = document["solved_interval"]
    paired, agreement = document.get("paired"), document.get("agreement")
    return PromptRow(
        kind=str(document["kind"]),
        name=str(document["name"]),
        solved=int(document["solved"]),
        total=int(document["total"]),
        unavailable=int(document["unavailable"]),
        low=float(low),
        high=float(high),
        loops=int(document["loops"]),
        out_of_tokens=int(document["out_of_tokens"]),
        generated_tokens=int(document["generated_tokens"]),
        agreement=agreement["share"] if agreement else None,
        paired=(paired["gained"], paired["lost"], paired["p_value"]) if paired else None,
    )
