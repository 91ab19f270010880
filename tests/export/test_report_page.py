"""The report page: one file, nothing from elsewhere, nothing of a model's name taken for markup."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from optimizer.export.answers import show_answers
from optimizer.export.layer_map import layer_map
from optimizer.export.report_figure import damage_over_bytes, type_map
from optimizer.export.report_page import report_page
from optimizer.export.report_view import Report
from tests.export.answered import SOURCE, WINNER
from tests.export.reports import FINDINGS, PROMPTS, RECIPE, WIDER, front, report


class Page(HTMLParser):
    """Ids, links out, and the texts of a page's elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self._tag = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag == "script":
            self.scripts.append("")
        values = dict(attributes)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.outside += [str(values[key]) for key in ("src", "href", "action") if key in values]

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "script":
            self.scripts[-1] += data
        elif self._tag != "style":
            self.text += data


def page(*recipes: dict[str, str], **more: Any) -> Page:
    return Page(report_page(Report.from_json(report(**more)), recipes))


@pytest.fixture
def short_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    """4.5 MB of JavaScript take a second to parse, and say nothing about the rest of the page."""
    monkeypatch.setattr("optimizer.export.report_page.get_plotlyjs", lambda: "const Plotly = {};")


def test_page_is_whole_and_asks_nothing_of_a_network() -> None:
    seen = page(RECIPE)
    assert seen.outside == []
    assert seen.ids == ["damage", "map-0", "recipe-0", "figures"]
    plotly, figures, drawing = seen.scripts
    assert "Plotly" in plotly
    assert set(json.loads(figures)) == {"damage", "map-0"}
    assert "Plotly.react" in drawing


@pytest.mark.usefixtures("short_plotly")
def test_what_a_model_is_called_is_shown_as_it_is() -> None:
    seen = page(study="</script><script>alert(1)</script>")
    assert len(seen.scripts) == 3
    assert "Demo <b>&</b> `model`" in seen.text
    assert "</script><script>alert(1)</script>" in seen.text


@pytest.mark.usefixtures("short_plotly")
def test_verdict_keeps_the_spelling_of_types() -> None:
    assert "On report text the stock preset IQ4_XS is better." in page(
        verdict="on report text the stock preset IQ4_XS is better"
    ).text.replace("\n", " ")


@pytest.mark.usefixtures("short_plotly")
def test_a_baseline_name_cannot_end_the_script() -> None:
    bad = front()
    bad["baselines"][0]["name"] = "</script><img src=x>"
    seen = page(**bad)
    assert seen.outside == []
    assert "</script><img src=x>" in [
        name for trace in json.loads(seen.scripts[1])["damage"]["data"] for name in trace["text"]
    ]


@pytest.mark.usefixtures("short_plotly")
def test_one_section_a_budget() -> None:
    fronts = [front(4_000_000, budget="Q3_K_M"), front(5_000_000, budget="Q5_K_S")]
    seen = page(RECIPE, RECIPE, fronts=fronts)
    assert [name for name in seen.ids if name != "figures"] == ["damage", "map-0", "recipe-0", "map-1", "recipe-1"]
    with pytest.raises(ValueError, match="shorter"):
        page(RECIPE, fronts=fronts)


@pytest.mark.usefixtures("short_plotly")
def test_front_and_forecasts_are_drawn_where_the_report_has_them() -> None:
    seen = page(fronts=[front(4_000_000, wider=WIDER), front(5_000_000)], **FINDINGS)
    assert {"volume", "forecasts"} <= set(seen.ids)
    figures = json.loads(seen.scripts[1])
    _, trials = figures["forecasts"]["data"]
    assert (trials["x"], trials["y"]) == ([0.01, 0.02, 0.03], pytest.approx([0.011, 0.022, 0.033]))
    assert figures["volume"]["data"][0]["y"] == [0.0, 1.6e6]
    text = " ".join(seen.text.split())
    assert "On report text trial 9 of budget Q5_K_S loses 50.0 % more <b>." in text
    assert "measured / predicted 1.10 in the median, with a spread of 4.2 %" in text
    assert "decide by groupswhy <i>" in text
    assert "0.70 to 0.90 x (assumed)" in text
    assert "100 bytes of the budget are left" in text


@pytest.mark.usefixtures("short_plotly")
def test_too_few_trials_to_judge() -> None:
    honesty = {"pairs": 1, "spearman": None, "median_ratio": 1.0, "spread": None, "trials": []}
    seen = page(honesty=honesty)
    assert "forecasts" not in seen.ids
    assert "too few to judge" in seen.text


def test_baselines_of_several_budgets_are_named_by_the_pointer_alone() -> None:
    (one,) = [each for each in damage_over_bytes(Report.from_json(report()).fronts)["data"] if "other" in each["name"]]
    assert one["mode"] == "markers+text"
    several = Report.from_json(report(fronts=[front(4_000_000), front(5_000_000)])).fronts
    modes = {each["name"]: each["mode"] for each in damage_over_bytes(several)["data"]}
    assert modes["other baselines"] == "markers"
    assert modes["layerquant"] == "markers+text"


def test_damage_figure_has_every_measured_row_once() -> None:
    seen = Report.from_json(report())
    figure = damage_over_bytes(seen.fronts)
    names = {trace["name"]: trace["text"] for trace in figure["data"]}
    assert names == {
        "K-quant presets": ["Q3_K_M", "Q4_K_S"],
        "IQ presets": ["IQ4_XS"],
        "other baselines": ["QwQ hybrid | stretched"],
        "layerquant": ["trial 17 (IQ4_XS)"],
    }
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [4_500_000]
    assert all(all(value > 0 for value in trace["y"]) for trace in figure["data"])


def test_a_logarithmic_axis_has_no_place_for_zero() -> None:
    zero = front()
    zero["baselines"][0]["mean_kld"] = 0.0
    figure = damage_over_bytes(Report.from_json(report(**zero)).fronts)
    assert "Q3_K_M" not in re.sub(r"\s", "", json.dumps(figure))


def test_type_map_shows_names_where_there_is_room() -> None:
    small = type_map(layer_map(RECIPE))["data"][0]
    assert small["text"] == [["Q6_K", "Q4_K"], ["Q4_K", "Q4_K"], ["", "Q8_0"]]
    assert small["texttemplate"]
    large = type_map(layer_map({f"blk.{layer}.attn_v.weight": "Q4_K" for layer in range(64)}))["data"][0]
    assert not large["texttemplate"]
    assert len(large["z"][0]) == 64


@pytest.mark.usefixtures("short_plotly")
def test_kld_against_prompts_is_a_table_where_it_was_an_objective() -> None:
    assert "KLD against prompts solved" not in page().text
    point = {
        "trial": 7, "name": "Q4_K_M <b>", "size_bytes": 1234567, "kept_out": "never ends on p3",
        "search": {"mean_kld": 0.0123456, "solved": 20, "total": 25},
        "report": {"mean_kld": 0.02, "mean_kld_standard_error": 0.001, "prompts": None},
    }  # fmt: skip
    seen = page(prompt_front=[point])
    for words in ("trial 7 = Q4_K_M <b>", "1,234,567", "0.012346", "20 of 25", "0.020000 ± 0.001000", "none are left"):
        assert words in seen.text
    assert "kept out" in seen.text


@pytest.mark.usefixtures("short_plotly")
def test_answers_stand_under_the_prompts_where_there_are_some() -> None:
    assert "Answers" not in page(prompts=PROMPTS).text
    shown = show_answers(WINNER, SOURCE)
    seen = Page(report_page(Report.from_json(report(prompts=PROMPTS)), answers=[shown]))
    assert seen.text.index("core/report <i>") < seen.text.index("1 lost, 1 gained") < seen.text.index("Recipe")
    assert "arrives at 31, not <3>" in seen.text
    assert seen.outside == []


@pytest.mark.usefixtures("short_plotly")
def test_sentences_have_a_space_between_them() -> None:
    text = " ".join(page(noise_floor_kld=1e-5, tokens_evaluated=995_328).text.split())
    assert "in other batch shapes. Evaluated with llama.cpp 0.3.36. 995,328 tokens evaluated by the study." in text


@pytest.mark.usefixtures("short_plotly")
def test_prompts_are_shown_where_there_are_some() -> None:
    assert "never end" not in page().text
    seen = page(prompts={**PROMPTS, "kept_out": "solves 3 of 9 <b>"})
    for words in ("core/report <i>", "19 of 24 (50-90 %), 1 unavailable", "62.50 %", "4 gained, 1 lost, p = 0.38"):
        assert words in seen.text
    assert "solves 3 of 9 <b>" in seen.text
    assert "none are left to report on" not in seen.text
    assert "core/report <i>: none are left to report on" in page(prompts={**PROMPTS, "rows": []}).text
