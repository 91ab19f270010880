"""Who sees more of the text: candidates are compared with the incumbent on the same chunks, pair by pair.

With d_c the difference of mean KLD on chunk c, a candidate is out when mean(d) > Z * sd(d) / sqrt(n). A candidate that
is out keeps an estimate of its full-text KLD: the incumbent's full KLD times the ratio of both on the chunks seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, sqrt

OUT_Z = 1.0
"""Standard errors behind the incumbent at which a candidate sees no more chunks.

On the demo model, with a third of the chunks seen, 2 would have ended 0 of 25 candidates that lost in the end, and 1
ends 12 of them, with 1 of 9 that won: KLD has heavy tails, and more candidates are worth more than a sure verdict.
"""


@dataclass(frozen=True)
class PairedDifference:
    """Candidate minus incumbent in nats per token, over the chunks both were scored on."""

    mean: float
    standard_error: float
    chunks: int

    @property
    def is_behind(self) -> bool:
        return self.chunks > 1 and self.mean > 0 and self.mean > OUT_Z * self.standard_error

    def with_more(self, other: "PairedDifference") -> "PairedDifference":
        """The same over chunks of both, each counted alike; they share none."""
        chunks = self.chunks + other.chunks
        mean = (self.chunks * self.mean + other.chunks * other.mean) / chunks
        error = hypot(self.chunks * self.standard_error, other.chunks * other.standard_error) / chunks
        return PairedDifference(mean, error, chunks)


def compare(candidate: Mapping[int, float], incumbent: Mapping[int, float]) -> PairedDifference:
    """Chunk number -> mean KLD, for both. Raises ValueError when they share no chunk."""
    shared = sorted(candidate.keys() & incumbent.keys())
    if not shared:
        raise ValueError("nothing to compare: no chunk was scored for both")
    differences = [candidate[chunk] - incumbent[chunk] for chunk in shared]
    mean = sum(differences) / len(differences)
    if len(differences) < 2:
        return PairedDifference(mean, 0.0, len(differences))
    variance = sum((difference - mean) ** 2 for difference in differences) / (len(differences) - 1)
    return PairedDifference(mean, sqrt(variance / len(differences)), len(differences))


def full_text_estimate(candidate: Mapping[int, float], incumbent: Mapping[int, float]) -> float:
    """What a candidate scored on part of the chunks would show on all that the incumbent has seen (ratio estimate)."""
    shared = candidate.keys() & incumbent.keys()
    ours, theirs = sum(candidate[chunk] for chunk in shared), sum(incumbent[chunk] for chunk in shared)
    everything = sum(incumbent.values()) / len(incumbent)
    return everything * ours / theirs if theirs > 0 else ours / max(len(shared), 1)


def rungs(chunks: int, first_share: float, batch: int = 1) -> tuple[int, ...]:
    """How many chunks each stage of the race has seen at its end: twice as many each time; the last is the full text.

    Stages end at whole batches of `batch` chunks: which chunks share a batch moves a chunk's KLD a little.
    """
    stages = []
    seen = max(1, -(-max(2, round(chunks * first_share)) // batch)) * batch
    while seen < chunks:
        stages.append(seen)
        seen *= 2
    return (*stages, chunks)
