"""The model card: its table, its honesty, its recipe."""

import re
from collections.abc import Sequence

from optimizer.export.layer_types_text import layer_types_text
from optimizer.export.model_card import comparison_table, model_card
from optimizer.export.number_text import kld_text, percent_text, perplexity_text, size_text
from optimizer.export.report_view import Report
from optimizer.recipes.flags import Flags
from optimizer.recipes.layer_types import LayerTypes, parse
from tests.export.reports import RECIPE, front, report


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def card(**more: object) -> str:
    seen = Report.from_json(report(**more))
    return model_card(
        seen, seen.fronts[0], tensor_types=RECIPE, command="llama-quantize \\\n  in.gguf out.gguf Q4_K_M\n"
    )


def test_the_table_is_ordered_by_size_and_has_every_row() -> None:
    seen = Report.from_json(report())
    lines = comparison_table(seen, seen.fronts[0]).splitlines()
    assert {len(cells(line)) for line in lines} == {7}
    names = [cells(line)[0] for line in lines[2:]]
    assert names == [
        "Q3_K_M",
        "QwQ hybrid \\| stretched",
        "**this file (trial 17)**",
        "IQ4_XS",
        "Q4_K_S",
        "source model",
    ]
    ours = cells(lines[4])
    assert ours[1:4] == ["**4,499,900**", "**4.500**", "**0.008000 ± 0.000400**"]
    assert [cells(line)[6] for line in lines[2:]] == ["yes", "yes", "**yes**", "yes", "no", "no"]


def test_figures_that_a_report_lacks_leave_their_cells_empty() -> None:
    bare = front()
    for each in (bare["best"], *bare["baselines"]):
        for key in ("bits_per_weight", "mean_kld_standard_error", "perplexity_standard_error", "top1_agreement"):
            del each[key]
    seen = Report.from_json(report(**bare, reference_perplexity=None))
    lines = comparison_table(seen, seen.fronts[0]).splitlines()[2:]
    assert len(lines) == 5
    assert "None" not in "".join(lines)
    assert "****" not in "".join(lines)


def test_it_says_so_where_a_preset_is_better() -> None:
    worse = "on report text the stock preset IQ4_XS is better: the winner loses 1.07 x its KLD"
    assert f"**Result:** {worse.replace('*', '')}." in card(verdict=worse)


def test_the_comparison_at_equal_bytes_names_an_extrapolation() -> None:
    assert "0.661 times that of the stock presets, interpolated to the same bytes" in card()
    assert "times that of the nearest stock preset" in card(extrapolated=True)
    assert "times that of" not in card(interpolated_preset_kld=None)


def test_the_recipe_can_be_pasted_and_read_back() -> None:
    (block,) = re.findall(r"## Recipe\n\n```sh\n(.*?)```", card(), re.DOTALL)
    again = parse(block)
    assert again.names() == {0: "MIX_1", 1: "Q4_K_S"}
    assert again.flags == Flags(token_embedding_type="Q6_K")
    assert again.meta_rows == (("DEF", "MIX_1", "preset=Q4_K_M", "attn_v=Q6_K"),)


def test_names_from_a_model_are_no_markup_and_no_paths_are_shown() -> None:
    text = card()
    assert "Demo \\<b\\>&\\</b\\> \\`model\\`" in text
    assert "/home" not in text
    assert "report.txt, 32 chunks" in text


def test_it_opens_with_front_matter_and_names_the_command() -> None:
    text = card()
    assert text.startswith("---\ntags:\n- gguf\n")
    assert "```sh\nllama-quantize \\\n  in.gguf out.gguf Q4_K_M\n```" in text
    assert "| attn_v | Q6_K x 1, Q4_K x 1 |" in text
    seen = Report.from_json(report())
    assert "llama-quantize" not in model_card(seen, seen.fronts[0])


def test_layer_types_text_round_trips_with_its_comments() -> None:
    rows: Sequence[tuple[int, str]] = ((0, "Q4_K_M"), (1, "Q5_K_658"))
    given = LayerTypes(tuple(rows), (("MAP", "VOD", "6", "Q6_K"),), Flags("Q6_K", "Q8_0"))
    text = layer_types_text(given, ["study demo, trial 17", "KLD 0.008\nPPL 5.0"])
    assert text.splitlines()[:3] == ["# study demo, trial 17", "# KLD 0.008", "# PPL 5.0"]
    assert parse(text) == given
    assert parse(layer_types_text(given)) == given


def test_numbers() -> None:
    assert size_text(17_917_000_000) == "17.92 GB (16.69 GiB)"
    assert size_text(4_499_900) == "4.50 MB (4.29 MiB)"
    assert kld_text(0.0123456) == "0.012346"
    assert perplexity_text(5.12345, 0.01) == "5.1235 ± 0.0100"
    assert (percent_text(0.9712), percent_text(None)) == ("97.12 %", "")
