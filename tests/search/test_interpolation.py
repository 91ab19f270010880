import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.interpolation import LadderPoint, preset_kld_at, undominated

LADDER = [LadderPoint("Q3_K_M", 100, 0.08), LadderPoint("IQ4_XS", 200, 0.02), LadderPoint("Q6_K", 400, 0.005)]


def test_geometric_mean_half_way() -> None:
    found = preset_kld_at(LADDER, 150)
    assert found is not None
    assert found.kld == pytest.approx(math.sqrt(0.08 * 0.02))
    assert not found.extrapolated


@pytest.mark.parametrize(("n_bytes", "kld", "extrapolated"), [(50, 0.08, True), (100, 0.08, False), (401, 0.005, True)])
def test_nearest_end_beyond_the_ladder(n_bytes: int, kld: float, extrapolated: bool) -> None:
    found = preset_kld_at(LADDER, n_bytes)
    assert found is not None
    assert (found.kld, found.extrapolated) == (pytest.approx(kld), extrapolated)


def test_a_dominated_preset_changes_nothing() -> None:
    worse = LadderPoint("Q4_0", 210, 0.05)
    assert preset_kld_at([*LADDER, worse], 300) == preset_kld_at(LADDER, 300)


def test_no_ladder_no_figure() -> None:
    assert preset_kld_at([], 10) is None


@given(st.lists(st.tuples(st.integers(1, 10**12), st.floats(1e-6, 1.0)), min_size=1, max_size=12))
def test_undominated_falls_strictly(pairs: list[tuple[int, float]]) -> None:
    points = [LadderPoint(str(i), n_bytes, kld) for i, (n_bytes, kld) in enumerate(pairs)]
    front = undominated(points)
    assert all(a.n_bytes < b.n_bytes and a.kld > b.kld for a, b in itertools.pairwise(front))
    for point in points:
        assert any(kept.n_bytes <= point.n_bytes and kept.kld <= point.kld for kept in front)
