"""The page of benchmarks shows the measured figures and nothing else."""

import json
import sqlite3
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import benchmarks.cluster.__main__ as cluster
from benchmarks import generation, prompt_ladder
from benchmarks.comparison import longer_texts, tables
from benchmarks.comparison.curves import draw
from benchmarks.comparison.fresh_text import cells, known, on_fresh_text, winners
from benchmarks.comparison.jobs import (
    BUDGETS,
    OPTIMUM,
    OURS,
    OURS_LONG,
    OURS_LONGEST,
    RIVALS_LONGEST,
    WITH_IMATRIX,
    Job,
    comparison,
    imatrix,
    ours_long,
    ours_longest,
    rivals_longest,
    spaces,
)
from benchmarks.comparison.judging import Judge, checkpoints
from benchmarks.comparison.judging_runs import JudgedChunks, _judged, updated
from benchmarks.comparison.known import inside
from benchmarks.comparison.longest_rivals import rivals_with_more_tokens
from benchmarks.comparison.probe_scores import DATABASE, FORGOTTEN, keep_probes, take_probes
from benchmarks.comparison.running import SEARCH_TEXT, search_text, settings
from benchmarks.pages import fill
from benchmarks.scaling.__main__ import FIGURES as COSTS
from benchmarks.scaling.__main__ import PAGE as COST_PAGE
from benchmarks.scaling.tables import TABLES as COST_TABLES
from benchmarks.search import FIGURES, PAGE, PICTURE, TABLES
from demo.corpus import FOLDER as DEMO
from optimizer.config import SearchConfig
from optimizer.recipes.recipe import Recipe
from optimizer.search.planning import make_plan


def test_the_page_is_made_from_the_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert fill(page, TABLES, figures) == page
    for make in TABLES:
        assert f"<!-- {make.__name__} -->" in page


def test_the_picture_is_made_from_the_figures() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    panels = {f"{budget} bytes": tables.curves(figures, budget) for budget in BUDGETS}
    assert draw(panels, "evaluated tokens") == PICTURE.read_text(encoding="utf-8")


def test_curves_are_well_formed_and_inside_the_picture() -> None:
    picture = ElementTree.fromstring(draw({"one": {"a": [(1.0, 0.5), (2.0, 0.05)], "b": [(2.0, 0.01)]}}, "x"))
    width = float(picture.attrib["viewBox"].split()[2])
    points = [
        tuple(map(float, point.split(",")))
        for line in picture.iter("{http://www.w3.org/2000/svg}polyline")
        for point in line.attrib["points"].split()
    ]
    assert len(points) == 3
    assert all(0 <= x <= width for x, _ in points)
    heights = [y for _, y in points]
    assert heights == sorted(heights)  # less damage lies lower


def test_winners_that_are_published_with_their_types_have_the_size_that_is_said() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    sizes = make_plan(SearchConfig.load(None, settings(next(iter(spaces(1))), 48, 256))).sizes
    kept = [run for run in figures["runs"] if "tensor_types" in run and run["job"]["types"] != WITH_IMATRIX]
    assert len({run["job"]["budget"] for run in kept}) == len(BUDGETS)
    for run in kept:
        types = dict(zip(figures["tensors"], run["tensor_types"], strict=True))
        assert sizes.file_size(Recipe(types), plain=False) == run["size_bytes"] <= run["budget_bytes"]


def test_a_checkpoint_knows_nothing_of_later_tokens() -> None:
    incumbents = [{"tokens": 10, "name": "a"}, {"tokens": 30, "name": "b"}]
    found = checkpoints(incumbents, (5, 10, 29, 30))
    assert {limit: each["name"] for limit, each in found.items()} == {10: "a", 29: "a", 30: "b"}


@pytest.mark.parametrize("split", ["report", "search"])
def test_longer_texts_begin_with_the_bundled_ones(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = (DEMO / "texts" / f"{split}.txt").read_text(encoding="utf-8")
    monkeypatch.setattr(longer_texts, "DOCUMENTS", 1010)
    longer = longer_texts.write_longer_text(tmp_path, split).read_text(encoding="utf-8")
    assert longer.startswith(bundled.rstrip("\n") + "\n\n")


def judged(sampler: str, budget: str, by_chunk: list[float], **more: Any) -> dict[str, Any]:
    job = {
        "sampler": sampler,
        "units": "groups",
        "types": "K+IQ",
        "budget": budget,
        "seed": 0,
        "group": "equal",
        "tokens": 320_000,
    }
    return {"job": job, "tokens": 300, "report_by_chunk": by_chunk, "report_kld": float(np.mean(by_chunk)), **more}


def test_who_was_judged_on_less_text_is_compared_on_that() -> None:
    """The rival saw two chunks of four; on those it lost twice as much, whatever ours did on the others."""
    ours = [
        judged(OURS, budget, [1.0, 1.0, 7.0, 7.0], arrivals=[[100, 8.0], [200, 4.0]], arrivals_chunks=4)
        for budget in BUDGETS
    ]
    rivals = [
        judged("tpe", budget, [2.0, 2.0], arrivals=[[50, 2.0], [250, 1.05]], arrivals_chunks=2) for budget in BUDGETS
    ]
    figures = {"runs": [*ours, *rivals]}
    equal = tables.at_equal_tokens(figures).splitlines()
    assert equal[2].split(" | ")[1:3] == ["1.00000", "1.00"]
    assert equal[3].split(" | ")[1:3] == ["2.00000", "2.00"]
    arrived = tables.tokens_to_arrive(figures).splitlines()
    assert arrived[2].split(" | ")[1:3] == ["K+IQ", "0k / 0k / 0k"]
    assert arrived[3].split(" | ")[2] == "- / 0k / 0k"
    assert "tpe" not in tables.against_optimum(figures)


def test_winners_near_each_other_are_judged_on_more_chunks_than_rivals() -> None:
    class Fake:
        plan = SimpleNamespace(parameters={"b": 1, "a": 1})

        def by_chunk(self, tensor_types: dict[str, str], chunks: int) -> list[float]:
            return [float(tensor_types["a"][1])] * chunks

    found = [
        {"tokens": at, "search_kld": 1.0, "size_bytes": 9, "tensor_types": {"b": "Q8_0", "a": name}}
        for at, name in ((100_000, "Q6_K"), (200_000, "Q5_K"))
    ]
    job = {"units": "groups", "types": "K+IQ", "budget": "IQ4_XS", "seed": 0, "tokens": 320_000}
    told = {"budget_bytes": 9, "probe_tokens": 0, "tokens": 330_000, "trials": 2, "incumbents": found}
    rows = [
        {"job": {**job, "sampler": sampler, "group": group}, **told}
        for sampler, group in ((OURS, "equal"), ("tpe", "equal"), (OURS, OURS_LONG))
    ]
    ours, rival, long = _judged(cast(Judge, Fake()), rows, JudgedChunks(8, 4, 2))
    assert [len(run["report_by_chunk"]) for run in (ours, rival, long)] == [8, 4, 8]
    assert [run["arrivals_chunks"] for run in (ours, rival)] == [8, 2]
    course = [[100_000, 6.0], [160_000, 6.0], [200_000, 5.0], [240_000, 5.0], [320_000, 5.0]]
    assert ours["arrivals"] == ours["report"] == rival["arrivals"] == course
    assert long["arrivals"] == []
    assert ours["tensor_types"] == ["Q5_K", "Q8_0"]


def test_long_searches_have_rows_of_their_own_beside_the_best_of_all() -> None:
    """Short ones lose 2 and 4, long ones 1 and 2: over the best, 3 and 1.5."""
    short = [judged(OURS, budget, [loss] * 4, arrivals=[], arrivals_chunks=4) for budget in BUDGETS for loss in (2, 4)]
    long = [judged(OURS, budget, [loss] * 4, arrivals=[], arrivals_chunks=4) for budget in BUDGETS for loss in (1, 2)]
    for run in long:
        run["job"] |= {"group": OURS_LONG, "tokens": 960_000}
    rows = tables.against_optimum({"runs": [*short, *long]}).splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["320,000", "960,000"]
    assert [row.split(" | ")[3].split(" ±")[0] for row in rows] == [
        "**3.00**; 3.00 (2.00-4.00)",
        "**1.50**; 1.50 (1.00-2.00)",
    ]
    arrived = tables.tokens_to_arrive({"runs": [*short, *long]}).splitlines()[2:]
    assert [row.split(" | ")[0] for row in arrived] == ["| `layerquant`", "| `layerquant`, to 960,000"]
    assert arrived[1].split(" | ")[1:3] == ["K+IQ", "0k (1/2) / 0k (1/2) / 0k (1/2)"]


def test_rivals_with_more_tokens_stand_beside_the_least_known() -> None:
    """Ours ended at 2 and 4 where the least known is 2; the rival came from 10 to 6."""
    runs = [judged(OURS, "IQ4_XS", [loss] * 4, tensor_types=[f"found at {loss}"]) for loss in (2.0, 4.0)]
    rival = judged("cmaes", "IQ4_XS", [6.0] * 4, arrivals=[[320_000, 10.0]], tensor_types=["Q2_K"])
    for run, group in zip((*runs, rival), (OURS_LONGEST, OURS_LONGEST, RIVALS_LONGEST), strict=True):
        run["job"] |= {"group": group, "tokens": 2_880_000}
    shown = rivals_with_more_tokens({"runs": [*runs, rival], "chunks": 4}).splitlines()[2:]
    assert [line.split(" | ")[1:3] for line in shown] == [["`layerquant`", ""], ["`cmaes`", "5.00"]]
    assert [line.split(" | ")[-1] for line in shown] == ["1.50 after 300 |", "3.00 after 300 |"]


def test_long_searches_have_probes_of_their_own_that_see_more() -> None:
    short = next(iter(spaces(1)))
    groups = ("spaces", OURS_LONG, OURS_LONGEST)
    assert len({replace(short, group=group).space for group in groups}) == 3
    seen = [SearchConfig.load(None, settings(replace(short, group=group), 48, 256)).evaluation for group in groups]
    assert [each.probe_chunks for each in seen] == [None, 16, 48]
    assert [each.chunks for each in seen] == [48, 48, 216]
    assert [each.pool_chunks for each in seen] == [None, 288, 990]
    assert [each.final_chunks for each in seen] == [None, None, 432]


def test_the_longest_by_groups_have_more_trials_that_see_less_than_those_by_layers() -> None:
    by_groups = next(job for job in ours_longest(1) if job.units == "groups")
    seen = SearchConfig.load(None, settings(by_groups, 48, 256)).evaluation
    assert (seen.chunks, seen.pool_chunks, seen.final_chunks, seen.probe_chunks) == (144, 864, 432, 32)


def test_with_twice_the_tokens_the_longest_by_groups_have_twice_the_text() -> None:
    once = next(job for job in ours_longest(2_880_000) if job.units == "groups")
    twice = replace(once, tokens=5_760_000)
    seen = SearchConfig.load(None, settings(twice, 48, 256)).evaluation
    assert (seen.chunks, seen.pool_chunks, seen.final_chunks, seen.probe_chunks) == (288, 1728, 864, 32)
    assert seen.first_rung * seen.chunks == pytest.approx(48)
    assert twice.space != once.space, "probes of another text are not taken"
    assert replace(twice, units="layers").text_scale == 1


def test_rivals_with_more_tokens_see_more_chunks_too() -> None:
    (rival,) = rivals_longest(14_400_000, ("cmaes",))
    assert SearchConfig.load(None, settings(rival, 48, 256)).evaluation.chunks == 144


def test_the_longest_searches_have_a_longer_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longer_texts, "DOCUMENTS", 10)
    short = next(iter(spaces(1)))
    texts = [
        search_text(replace(short, group=group), tmp_path)
        for group in ("spaces", OURS_LONG, OURS_LONGEST, RIVALS_LONGEST)
    ]
    assert texts == [SEARCH_TEXT, SEARCH_TEXT, *2 * [tmp_path / "search-10.txt"]]
    assert texts[2].is_file()
    larger = replace(short, group=OURS_LONGEST, tokens=5_760_000, units="groups")
    assert search_text(larger, tmp_path) == tmp_path / "search-20.txt"
    assert settings(short, 48, 256, texts[2])["search_text"] == str(texts[2])


@pytest.mark.parametrize(
    ("units", "types", "best"), [("groups", "K", 3), ("groups", "K+IQ", 2), ("tensors", "K+IQ", 2), ("layers", "K", 1)]
)
def test_the_best_known_of_a_space_may_be_of_one_inside_it(units: str, types: str, best: int) -> None:
    """Found loss: groups with K-quants 3, with IQ types 2 in 4; tensors 5; layers, which are a space apart here, 1."""
    found = [("groups", "K", 3.0), ("groups", "K+IQ", 4.0), ("groups", "K+IQ", 2.0), ("tensors", "K+IQ", 5.0)]
    runs = [judged(OURS, "IQ4_XS", [loss] * 4) for _, _, loss in [*found, ("layers", "K", 1.0)]]
    for run, (its_units, its_types, _) in zip(runs, [*found, ("layers", "K", 1.0)], strict=True):
        run["job"] |= {"units": its_units, "types": its_types}
    assert min(run["report_kld"] for run in inside(runs, units, types, "IQ4_XS")) == best
    runs[0]["report_kld"] = 1.5
    assert min(run["report_kld"] for run in inside(runs, "tensors", "K+IQ", "IQ4_XS")) == 1.5


def test_tokens_to_arrive_are_counted_to_the_best_known_of_the_spaces_inside_too() -> None:
    ours = [judged(OURS, budget, [2.0] * 4, arrivals=[], arrivals_chunks=4) for budget in BUDGETS]
    assert " 0k / 0k / 0k " in tables.tokens_to_arrive({"runs": ours})
    better = judged(OURS, BUDGETS[0], [1.0] * 4, arrivals=[], arrivals_chunks=4)
    better["job"] |= {"types": "K", "group": "spaces"}
    row, other = tables.tokens_to_arrive({"runs": [*ours, better]}).splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["K+IQ", "- / - / -", "0k / 0k / 0k", "0k / 0k / 0k"]
    assert [cell.strip() for cell in other.split("|")[2:-1]] == ["K", "0k / 0k / 0k", "", ""]


def test_the_best_of_many_equals_is_not_better_where_its_luck_does_not_count() -> None:
    """Twelve recipes alike but for noise, in many texts: the best looks better by far, and by halves it does not."""
    rng = np.random.default_rng(0)
    same, halves = [], []
    for _ in range(30):
        runs = [{"report_by_chunk": list(rng.lognormal(0, 1, 288))} for _ in range(12)]
        means = [np.mean(run["report_by_chunk"]) for run in runs]
        same.append(np.mean(means) / min(means))
        halves.append(tables._by_halves(runs, runs))
    assert np.mean(same) > 1.1
    assert np.mean(halves) == pytest.approx(1, abs=0.02)
    better = {"report_by_chunk": [0.5 * value for value in runs[0]["report_by_chunk"]]}
    assert tables._by_halves(runs, [*runs, better]) == pytest.approx(2, rel=0.1)


def fresh_figures(kept: float, lucky: float, ours: float) -> dict[str, Any]:
    """A kept recipe, one that was lucky on the first chunks, and a longest search's, with KLD 2, 1 and 2 there."""
    runs = [judged(OURS, "IQ4_XS", [loss] * 4) for loss in (2.0, 1.0, 2.0)]
    for run, name, group in zip(runs, ("Q3_K", "Q4_K", "Q5_K"), ("spaces", OPTIMUM, OURS_LONGEST), strict=True):
        run["job"] |= {"group": group}
        run["tensor_types"] = [name, "Q8_0"]
    by_recipe = {
        f"{name} Q8_0": [loss, 3 * loss]
        for name, loss in zip(("Q3_K", "Q4_K", "Q5_K"), (kept, lucky, ours), strict=True)
    }
    fresh = {"pool": 12, "chunks": [5, 9], "factors": [0.5, 0.5], "by_recipe": by_recipe}
    return {"runs": runs, "chunks": 4, "tensors": ["a", "b"], "fresh": fresh}


def test_who_was_lucky_is_not_the_best_of_fresh_text() -> None:
    """It leads on the first chunks with 1 to 2, and on fresh ones it is level; on both, 4 chunks and 12,
    1.75 to 2. Where ours has the least KLD on both, it is compared with itself.
    """
    assert list(cells(fresh_figures(2.0, 2.0, 2.0))) == [("groups", "K+IQ", "IQ4_XS")]
    assert "| 320,000 |  | **1.00** ± 0.00; 1.14 |  |" in on_fresh_text(fresh_figures(2.0, 2.0, 2.0))
    assert "| **1.25** ± 0.12; 1.36 |" in on_fresh_text(fresh_figures(2.0, 2.0, 2.5))
    assert "**0.50** ± 0.25; 1.00" in on_fresh_text(fresh_figures(2.0, 2.0, 1.0))


def test_what_fresh_text_has_not_seen_is_named_and_not_guessed() -> None:
    figures = fresh_figures(2.0, 2.0, 2.0)
    del figures["fresh"]["by_recipe"]["Q5_K Q8_0"]
    assert "|  | not measured |  |" in on_fresh_text(figures)
    del figures["fresh"]
    assert "|  | not measured |  |" in on_fresh_text(figures)


def test_the_longest_search_of_a_space_stands_for_it() -> None:
    figures = fresh_figures(1.0, 1.0, 1.0)
    longer = judged(OURS, "IQ4_XS", [1.0] * 4, tensor_types=["Q6_K", "Q8_0"])
    longer["job"] |= {"group": OURS_LONGEST, "tokens": 5_760_000}
    figures["runs"].append(longer)
    cell = ("groups", "K+IQ", "IQ4_XS")
    assert [run["tensor_types"][0] for run in winners(figures, cell)] == ["Q6_K"]
    assert [run["tensor_types"][0] for run in known(figures, cell)] == ["Q4_K", "Q6_K", "Q3_K", "Q5_K"]


def test_a_job_that_ran_again_is_replaced_and_what_it_had_found_is_kept() -> None:
    def run(sampler: str, seed: int, loss: float) -> dict[str, Any]:
        made = judged(sampler, "IQ4_XS", [loss], tensor_types=[f"found at {loss}"])
        made["job"] |= {"seed": seed}
        return made

    same = {"chunks": 1, "rival_chunks": 1, "curve_chunks": 1, "ctx_size": 256, "tensors": ["a"]}
    kept = {**same, "presets": {}, "runs": [run(OURS, 0, 3.0), run(OURS, 1, 4.0), run("tpe", 0, 5.0)]}
    new = {**same, "presets": {}, "runs": [run(OURS, 0, 2.0), run("tpe", 0, 1.0)]}
    found = updated(kept, new)["runs"]
    assert [(each["job"]["sampler"], each["job"]["group"], each["report_kld"]) for each in found] == [
        (OURS, OPTIMUM, 3.0), (OURS, "equal", 4.0), (OURS, "equal", 2.0), ("tpe", "equal", 1.0)
    ]  # fmt: skip
    assert updated({**kept, "runs": found}, new)["runs"] == updated(kept, new)["runs"][:2] + new["runs"]
    with pytest.raises(ValueError, match="chunks is 2, and of the figures to keep 1"):
        updated(kept, {**new, "chunks": 2})


def test_probes_of_a_space_are_taken_over_and_what_a_search_did_is_not(tmp_path: Path) -> None:
    done, probes = tmp_path / "done", tmp_path / "probes" / "groups-K"
    (done / "references").mkdir(parents=True)
    with closing(sqlite3.connect(done / DATABASE)) as database, database:
        database.execute("CREATE TABLE evaluations (recipe_id INTEGER, tokens INTEGER, created_at REAL)")
        database.execute("CREATE TABLE recipes (id INTEGER, key TEXT)")
        database.execute("CREATE TABLE trials (started_at REAL)")
        for table in FORGOTTEN:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER)")
        database.executemany("INSERT INTO recipes VALUES (?, ?)", [(1, "one"), (2, "two"), (3, "second probe")])
        rows = [(1, 100, 1.0), (2, 200, 2.0), (3, 50, 2.5), (1, 400, 3.5)]
        database.executemany("INSERT INTO evaluations VALUES (?, ?, ?)", rows)
        database.executemany("INSERT INTO trials VALUES (?)", [(3.0,), (4.0,)])
    assert take_probes(probes, tmp_path / "before") == 0
    keep_probes(done, probes, {"one", "two", "never evaluated"})
    assert take_probes(probes, tmp_path / "next") == 300
    with closing(sqlite3.connect(tmp_path / "next" / DATABASE)) as database:
        assert database.execute("SELECT count(*) FROM trials").fetchone() == (0,)
    assert (tmp_path / "next" / "references").is_dir()


@pytest.mark.parametrize(
    "jobs", [comparison, spaces, ours_long, ours_longest, lambda tokens: imatrix(tokens, ("cmaes",))]
)
def test_job_names_are_unique(jobs: Callable[[int], Iterable[Job]]) -> None:
    names = [job.name for job in jobs(1000)]
    assert len(set(names)) == len(names) > 10


def test_the_page_of_costs_is_made_from_the_figures() -> None:
    figures = json.loads(COSTS.read_text(encoding="utf-8"))
    page = COST_PAGE.read_text(encoding="utf-8")
    assert fill(page, COST_TABLES, figures) == page
    for make in COST_TABLES:
        assert f"<!-- {make.__name__} -->" in page


def test_the_table_of_many_evaluators_is_made_from_the_figures() -> None:
    page = cluster.PAGE.read_text(encoding="utf-8")
    assert fill(page, [cluster.efficiency], json.loads(cluster.FIGURES.read_text(encoding="utf-8"))) == page


def test_the_page_of_behaviour_is_made_from_the_figures() -> None:
    measured = json.loads(prompt_ladder.FIGURES.read_text(encoding="utf-8"))
    page = prompt_ladder.PAGE.read_text(encoding="utf-8")
    assert fill(page, prompt_ladder.TABLES, measured) == page
    assert prompt_ladder.picture(measured) == prompt_ladder.PICTURE.read_text(encoding="utf-8")
    for name, each in measured.items():
        low, high = each["solved_interval"]
        assert low <= each["solved"] / each["total"] <= high, name
        assert each["repeatable"], name


def test_the_speed_of_answers_on_the_page_is_what_was_measured() -> None:
    measured = json.loads(generation.FIGURES.read_text(encoding="utf-8"))
    page = generation.PAGE.read_text(encoding="utf-8")
    assert fill(page, generation.TABLES, measured) == page
    for name, each in measured["models"].items():
        assert all(each["repeatable"].values()), name
