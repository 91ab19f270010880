"""Every search in configs/ can be planned as it stands; what a setting may not be is said."""

from pathlib import Path

import pytest

from evaluators.fake import FakeEvaluator
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.progress import SilentReporter
from optimizer.search.imatrix_auto import with_imatrix
from optimizer.search.planning import make_plan
from optimizer.workplace import Workplace

ROOT = Path(__file__).resolve().parent.parent
SEARCHES = [path for path in sorted((ROOT / "configs").glob("*.yaml")) if "model:" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: str(path.name))
def test_it_can_be_planned(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = SearchConfig.load(path, {})
    workplace = Workplace(tmp_path)
    plan = make_plan(with_imatrix(config, workplace, SilentReporter(), evaluator_factory=FakeEvaluator))
    assert plan.baselines[plan.budgets[0]]
    assert (plan.prompts is not None) == (plan.config.prompts is not None)
    assert (plan.imatrix is not None) == (config.imatrix is not None)


@pytest.mark.parametrize("value", [0, -1, "many", [1, "x"]])
def test_a_setting_of_several_forms_is_refused_in_one_sentence(value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        SearchConfig.load(None, {"model": "x.gguf", "prune_candidates": value})
    assert str(refused.value).count("prune_candidates") == 1
    assert "from 1 on, or a list of their numbers" in str(refused.value)
