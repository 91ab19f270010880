"""How sure a count of solved prompts is: Wilson's interval for one model, McNemar's exact test for a pair.

Sources: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), 209-212;
Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12
(1947), 153-157, in its exact (binomial) form.
"""

from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a share, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two models on the same prompts; the prompts that both solve, or neither, say nothing about a difference."""

    gained: int
    """Prompts that the first solves and the second does not."""
    lost: int
    """Prompts that the second solves and the first does not."""
    compared: int
    """Prompts with a verdict for both."""

    @property
    def p_value(self) -> float:
        """Two-sided: how probable a split at least as uneven is, were gain and loss equally likely.

        With n = gained + lost and k the smaller of them: min(1, 2 * sum_{i<=k} C(n, i) / 2^n); 1 where n is 0.
        """
        differing = self.gained + self.lost
        tail = sum(comb(differing, count) for count in range(min(self.gained, self.lost) + 1))
        return min(1.0, 2 * tail / (1 << differing))


def wilson_interval(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """The share's interval: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n); 0 to 1 where nothing was tried.

    Raises ValueError where `successes` is not between 0 and `total`.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes of {total} cannot be")
    if total == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / total, z * z / total
    centre = share + spread / 2
    margin = z * sqrt(share * (1 - share) / total + spread / (4 * total))
    # At the ends the formula gives 0 and 1 exactly; floating point would miss them by a hair.
    low = 0.0 if successes == 0 else (centre - margin) / (1 + spread)
    high = 1.0 if successes == total else (centre + margin) / (1 + spread)
    return Interval(low, high)
