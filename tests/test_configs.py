"""Every search in configs/ can be planned as it stands."""

from pathlib import Path

import pytest

from optimizer.config import SearchConfig
from optimizer.search.planning import make_plan

ROOT = Path(__file__).resolve().parent.parent
SEARCHES = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if "model:" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: str(path.name))
def test_it_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = make_plan(SearchConfig.load(path, {}))
    assert plan.baselines[plan.budgets[0]]
    assert (plan.prompts is not None) == (plan.config.prompts is not None)
