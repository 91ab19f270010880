"""`imatrix: auto`: made once, from a text of its own, and part of the study as a given file would be."""

from pathlib import Path
from typing import Any

import pytest

from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, ImatrixError, InputError
from optimizer.progress import SilentReporter
from optimizer.quantization import Imatrix
from optimizer.search.claiming import kept_config
from optimizer.search.imatrix_auto import with_imatrix
from optimizer.search.planning import make_plan
from optimizer.workplace import Workplace
from tests.search.searches import Search, prepare


class Bench:
    """Settles `auto` again and again; `made` lists the evaluators that were asked for one."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.base, self.workplace, self.made = prepare(folder).config, Workplace(folder / "studies"), []
        (folder / "imatrix.txt").write_text("calibration " * 2000)
        self.auto = {"imatrix": "auto", "imatrix_text": str(folder / "imatrix.txt"), **changes}

    def settle(self, **changes: Any) -> SearchConfig:
        def make(settings: RuntimeSettings) -> FakeEvaluator:
            self.made.append(FakeEvaluator(settings))
            return self.made[-1]

        config = self.base.model_copy(update={**self.auto, **changes})
        return with_imatrix(config, self.workplace, SilentReporter(), evaluator_factory=make)


def test_it_is_made_once_and_covers_the_layers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    config = bench.settle()
    assert bench.settle() == config
    assert len(bench.made) == 1
    assert config.imatrix is not None
    path = Path(config.imatrix)
    assert path.parent == tmp_path / "studies" / "imatrices"
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert Imatrix.open(path).covered("blk.3.ffn_down.weight")
    assert bench.settle(imatrix_chunks=3) != config
    assert len(bench.made) == 2


def test_a_study_with_it_continues_and_opens_types_that_need_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, types=("IQ2_XS", "Q3_K", "Q4_K", "Q6_K"), trials=10)
    plan = make_plan(bench.settle())
    assert any("IQ2_XS" in types for types in (unit.options[0].tensor_types.values() for unit in plan.space.units))
    search = Search(tmp_path, plan)
    assert search.run().finished
    scored = search.scored
    again = make_plan(bench.settle())
    assert search.run(plan=again).finished
    assert search.scored == scored
    with search.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        kept = kept_config(study)
    assert kept.imatrix == plan.config.imatrix  # resume reads the very file
    assert kept.imatrix_text == str(tmp_path / "imatrix.txt")
    # The same settings with another text are another search.
    (tmp_path / "imatrix.txt").write_text("something else " * 2000)
    other = make_plan(bench.settle())
    with pytest.raises(ConfigError, match="contents"):
        search.run(plan=other)


def test_texts_that_are_missing_or_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ConfigError, match="--imatrix-text FILE"):
        bench.settle(imatrix_text=None)
    for role in ("search", "report"):
        with pytest.raises(ConfigError, match=f"imatrix text and {role} text are the same"):
            bench.settle(imatrix_text=str(tmp_path / f"{role}.txt"))
    assert not bench.made


def test_what_planning_refuses_is_refused_before_it_is_made(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(InputError, match="budget"):
        bench.settle(budget="1e3")
    assert not bench.made


def test_other_commands_say_how_to_make_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ImatrixError, match="layerquant imatrix"):
        make_plan(bench.base.model_copy(update=bench.auto))
