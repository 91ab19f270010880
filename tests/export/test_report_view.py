"""Reading a report, and what of it is required."""

import pytest

from optimizer.errors import StudyError
from optimizer.export.layer_map import layer_map
from optimizer.export.report_view import REFERENCE, WINNER, Report
from tests.export.reports import RECIPE, front, report


def test_one_budget() -> None:
    seen = Report.from_json(report())
    (only,) = seen.fronts
    assert (only.trial, only.budget, only.best.kind) == (17, "IQ4_XS", WINNER)
    assert [(row.name, row.fits) for row in only.baselines][1:3] == [("IQ4_XS", True), ("Q4_K_S", False)]
    assert seen.reference is not None
    assert (seen.reference.kind, seen.reference.bits_per_weight, seen.reference.mean_kld) == (REFERENCE, 16.0, 0.0)


def test_several_budgets() -> None:
    seen = Report.from_json(report(fronts=[front(4_000_000, budget="Q3_K_M"), front(5_000_000, budget="Q5_K_S")]))
    assert [each.budget_bytes for each in seen.fronts] == [4_000_000, 5_000_000]


def test_the_contract_alone_is_enough() -> None:
    row = {"size_bytes": 10, "mean_kld": 0.1, "perplexity": 2.0}
    best = {**row, "trial": 1, "layer_types": [[0, "Q4_K_M"]], "flags": ""}
    seen = Report.from_json(
        {"budget_bytes": 12, "best": best, "baselines": [{**row, "name": "Q4_K_M", "kind": "preset"}]}
    )
    assert seen.reference is None
    assert seen.fronts[0].layer_types == '[\n[0,"Q4_K_M"]\n]'
    assert seen.fronts[0].best.mean_kld_standard_error is None


@pytest.mark.parametrize("key", ["budget_bytes", "best", "baselines"])
def test_a_missing_key_of_the_contract_is_an_error(key: str) -> None:
    document = report()
    del document[key]
    with pytest.raises(StudyError, match=key):
        Report.from_json(document)


def test_no_folder_of_the_machine_is_shown() -> None:
    seen = Report.from_json(report(model={"path": "/home/someone/x.gguf"}))
    assert (seen.model_name, seen.report_text) == ("x.gguf", "report.txt")


def test_layer_map() -> None:
    layers = layer_map(RECIPE)
    assert layers.roles == ("attn_v", "ffn_down", "ssm_out")
    assert layers.types == (("Q6_K", "Q4_K"), ("Q4_K", "Q4_K"), (None, "Q8_0"))
    assert layers.bits[2] == [None, 8.5]
    assert layers.outside == (("token_embd.weight", "Q6_K"),)
    assert layers.summary() == [
        ("token_embd.weight", "Q6_K"),
        ("attn_v", "Q6_K x 1, Q4_K x 1"),
        ("ffn_down", "Q4_K x 2"),
        ("ssm_out", "Q8_0 x 1"),
    ]


def test_layer_map_keeps_experts_beside_their_dense_kin() -> None:
    names = [f"blk.0.{role}.weight" for role in ("zz", "ffn_down_exps", "attn_q", "ffn_down_shexp", "attn_kv_b")]
    assert layer_map(dict.fromkeys(names, "Q4_K")).roles == (
        "attn_q",
        "ffn_down_exps",
        "ffn_down_shexp",
        "attn_kv_b",
        "zz",
    )
