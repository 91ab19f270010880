"""How far ahead chance alone puts the best of many: a lead that small crowns nobody.

All trials see the same text, so the one that looks best was also lucky in its text. Of n candidates that are equally
good, measured with independent normal errors, the best appears sqrt(2 ln n) standard errors ahead (the leading term of
the expected maximum of n normal draws: Cramér, Mathematical Methods of Statistics, 1946, 28.6).
"""

from math import log, sqrt

from optimizer.search.racing import PairedDifference


def expected_lead(candidates: int) -> float:
    """Standard errors by which the best of so many equals leads; 0 of one."""
    return sqrt(2 * log(max(1, candidates)))


def luck(difference: PairedDifference, candidates: int) -> str | None:
    """Why a lead over the incumbent proves nothing, in words; None where it does. difference: candidate - incumbent.

    candidates: the incumbent, and all that contended for its place by less KLD on the full text, this one included.
    """
    lead, error = -difference.mean, difference.standard_error
    if lead > expected_lead(candidates) * error:
        return None
    return (
        f"ahead by {lead:.6f} ± {error:.6f}, no more than the best of {candidates} equals is by luck "
        f"({expected_lead(candidates):.1f} standard errors)"
    )
