"""Sensitivities in and out: our own table, and files as GGUF-Tool-Suite writes them (made up here, in its form)."""

from pathlib import Path

import pytest

from optimizer.errors import ConfigError
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.probe_run import taken_probes
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import plan_probing
from optimizer.search.sensitivity_shares import UNIT_SPREAD, GivenShares, shares_of
from optimizer.search.sensitivity_table import SensitivityTable
from optimizer.search.sensitivity_writing import own_table, tool_suite_curve, tool_suite_table
from optimizer.search.units import group_tensors
from tests.search.searches import Search, prepare

ROLES = ("attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up")
TENSORS = ["output.weight", "token_embd.weight", *(f"blk.{i}.{role}.weight" for i in range(4) for role in ROLES)]
PARAMETERS = dict.fromkeys(TENSORS, 1000)
GROUPS = group_tensors(TENSORS, "groups")


def tool_suite(folder: Path, rows: dict[str, list[str]], tensors: list[str] = TENSORS) -> Path:
    path = folder / "kld_results.csv"
    path.write_text("\n".join([",".join(["QTYPE", *tensors]), *(",".join([q, *cells]) for q, cells in rows.items())]))
    return path


def cells(first: float = 0.001) -> list[str]:
    return [f"{first * (1 + index):.6f}" for index in range(len(TENSORS))]


def read(path: Path) -> SensitivityTable:
    return SensitivityTable.read(path)


def test_theirs_is_summed_over_a_group_and_measured_groups_count_once(tmp_path: Path) -> None:
    row = dict(zip(TENSORS, cells(), strict=True)) | {
        "blk.0.ffn_gate.weight": "0.5", "blk.0.ffn_up.weight": "0.5", "blk.1.attn_v.weight": "404",
    }  # fmt: skip
    path = tool_suite(tmp_path, {"bf16": ["0"] * len(TENSORS), "iq2_ks": cells(), "q3_K": list(row.values())})
    table = read(path)
    assert list(table.klds) == ["iq2_ks", "Q3_K"]
    assert not table.relative
    klds = table.by_part("Q3_K", GROUPS)
    assert klds["blk.0.ffn_gate_up"] == 0.5
    assert klds["blk.0.attn_qk"] == pytest.approx(float(row["blk.0.attn_q.weight"]) + float(row["blk.0.attn_k.weight"]))
    assert "blk.1.attn_v" not in klds
    assert len(klds) == len(GROUPS) - 1
    layer = table.by_part("Q3_K", group_tensors(TENSORS, "layers"))["blk.0"]
    assert layer == pytest.approx(sum(kld for group, kld in klds.items() if group.startswith("blk.0.")))


@pytest.mark.parametrize("missing", ["404", "404%", "", "0"])
def test_missing_cells(tmp_path: Path, missing: str) -> None:
    table = read(tool_suite(tmp_path, {"q3_K": [missing, *cells()[1:]]}))
    assert "output.weight" not in table.klds["Q3_K"]
    assert len(table.klds["Q3_K"]) == len(TENSORS) - 1


def test_a_whole_model_a_type(tmp_path: Path) -> None:
    (tmp_path / "group0.csv").write_text("QTYPE,group0\nbf16,0\niq4_ks,0.03\nq3_K,0.08\niq2_s,404\nq8_0,0.001\n")
    assert read(tmp_path / "group0.csv").curve == {"Q3_K": 0.08, "Q8_0": 0.001}
    with pytest.raises(ConfigError, match="no part's sensitivity"):
        shares_of(read(tmp_path / "group0.csv"), PARAMETERS, TENSORS)


def test_theirs_is_written_and_read_again(tmp_path: Path) -> None:
    klds = {group: 0.0123 * (1 + index) for index, group in enumerate(GROUPS)}
    (tmp_path / "kld.csv").write_text(tool_suite_table({"Q3_K": klds}, TENSORS))
    header, row = (line.split(",") for line in (tmp_path / "kld.csv").read_text().splitlines())
    assert header == ["QTYPE", *sorted(TENSORS[2:]), "output.weight", "token_embd.weight"]
    assert (row[0], row[-2]) == ("q3_K", "0.012300000")
    table = read(tmp_path / "kld.csv")
    assert table.by_part("Q3_K", GROUPS) == pytest.approx(klds)
    (tmp_path / "whole.csv").write_text(tool_suite_curve({"Q8_0": 0.001, "Q3_K": 0.08, "IQ4_XS": 0.01}))
    assert (tmp_path / "whole.csv").read_text().startswith("QTYPE,group0\nq3_K,")
    assert read(tmp_path / "whole.csv").curve == {"Q3_K": 0.08, "IQ4_XS": 0.01, "Q8_0": 0.001}


def test_ours_is_written_and_read_again(tmp_path: Path) -> None:
    rows = [
        {"unit": unit, "tensor_type": "Q3_K", "kld": kld, "standard_error": 0.0, "base": "source", "source": "measured"}
        for unit, kld in {"uniform": 0.5, "token_embd": 0.1, "blk.0.attn_v": 0.2}.items()
    ]
    (tmp_path / "own.csv").write_text(own_table(rows))
    table = read(tmp_path / "own.csv")
    assert table.curve == {"Q3_K": 0.5}
    assert table.base_type == "source"
    assert table.klds == {"Q3_K": {"token_embd": 0.1, "blk.0.attn_v": 0.2}}


def test_shares_come_from_the_fullest_row_nearest_to_q3(tmp_path: Path) -> None:
    partial = ["0.9", *["404"] * (len(TENSORS) - 1)]
    given = shares_of(
        read(tool_suite(tmp_path, {"q3_K": partial, "iq1_m": cells(), "q2_K": cells(), "q6_K": cells()})),
        PARAMETERS, TENSORS,
    )  # fmt: skip
    assert (given.tensor_type, given.is_absolute) == ("Q2_K", False)
    assert sum(given.shares.values()) == pytest.approx(1.0)
    at = {tensor: float(cell) for tensor, cell in zip(TENSORS, cells(), strict=True)}
    last, middle = "blk.3.ffn_down.weight", "blk.2.attn_v.weight"
    assert given.shares[last] / given.shares[middle] == pytest.approx(at[last] / at[middle])


def test_types_of_ik_llama_cpp_compare_parts_as_well(tmp_path: Path) -> None:
    odd = ["9"] * len(TENSORS)
    table = read(tool_suite(tmp_path, {"iq1_bn": odd, "iq1_kt": cells(), "iq3_ks": cells(), "q8_KV": odd}))
    assert shares_of(table, PARAMETERS, TENSORS).tensor_type == "iq3_ks"
    with pytest.raises(ConfigError, match="has iq1_kt, iq3_ks, q8_KV and none of the probes"):
        imported(prepare(tmp_path), table.path)


def test_percentages_give_shares(tmp_path: Path) -> None:
    percent = [f"+{float(cell) * 100:.4f}%" for cell in cells()]
    table = read(tool_suite(tmp_path, {"q3_K": ["-0.03%", *percent[1:]]}))
    given = shares_of(table, PARAMETERS, TENSORS)
    assert table.relative
    assert 0 < given.shares["output.weight"] < given.shares["blk.3.attn_v.weight"]


def test_own_layers_and_roles_give_shares_of_tensors(tmp_path: Path) -> None:
    rows = {"uniform": 1.0, "output": 0.1, "token_embd": 0.1, **{f"blk.{i}": 0.2 for i in range(4)}}
    rows |= {"attn_qk": 0.1, "attn_v": 0.4, "attn_output": 0.1, "ffn_gate_up": 0.1, "ffn_down": 0.1}
    (tmp_path / "own.csv").write_text(
        "unit,tensor_type,kld\n" + "".join(f"{unit},Q3_K,{kld}\n" for unit, kld in rows.items())
    )
    given = shares_of(read(tmp_path / "own.csv"), PARAMETERS, TENSORS)
    assert given.is_absolute
    assert set(given.shares) == set(TENSORS)
    assert given.shares["blk.2.attn_v.weight"] == pytest.approx(0.2 * 0.4 / 0.8)


def test_measured_parts_complete_taken_ones() -> None:
    measured = Sensitivities({"output.weight": 0.4}, {"Q3_K": 0.1})
    whole = GivenShares({"token_embd.weight": 0.25, "blk.0.attn_v.weight": 0.75}, "Q2_K", False).completed(measured)
    assert whole.shares == pytest.approx({"output.weight": 0.4, "token_embd.weight": 0.15, "blk.0.attn_v.weight": 0.45})
    assert whole.curve == {"Q3_K": 0.1}
    assert whole.unit_spread == UNIT_SPREAD


BAD = {
    "QTYPE,blk.0.attn_v.weight,blk.9.attn_q.weight\nq3_K,0.1,0.2\n": "names blk.9.attn_q.weight .1 of its 2 parts.",
    "QTYPE,token_embd.weight\nq3_K,0.1\n": "sensitivities of 1 of this model's 22",
    "QTYPE,group0,group1\nq3_K,0.1,0.2\n": "--expand-groups",
    "QTYPE,token_embd.weight\nbf16,0.1\n": "no part's sensitivity",
    "QTYPE,token_embd.weight\nq3_K,-0.1\n": "is no KLD",
    "QTYPE,token_embd.weight\nq3_K,much\n": "line 2: 'much' is no KLD",
    "unit,tensor_type,kld\nblk.7.attn_v,Q3_K,0.1\n": "names blk.7.attn_v",
    "unit,tensor_type,kld\nblk.0.attn_v,Q3_Z,0.1\n": "line 2: 'Q3_Z' is no tensor type",
    "unit,tensor_type,kld\nblk.0.attn_v,Q3_K,nan\n": "is no KLD",
    "tensor,error\n": "needs the columns",
    "": "needs the columns",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_tables_are_refused_when_planning(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ConfigError, match=BAD[text]):
        prepare(tmp_path, sensitivities=str(tmp_path / "bad.csv"))


def test_perplexities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="perplexities"):
        prepare(tmp_path, sensitivities=str(tool_suite(tmp_path, {"q3_K": cells(8.5)})))


def imported(plan: Plan, path: Path) -> dict[tuple[str, str], float]:
    return taken_probes(read(path), plan_probing(plan), plan)


def test_what_probe_takes_from_a_file(tmp_path: Path) -> None:
    plan = prepare(tmp_path)
    taken = imported(plan, tool_suite(tmp_path, {"q3_K": cells(), "q2_K": cells()}))
    assert len(taken) == len(GROUPS)
    assert {kind for _, kind in taken} == {"Q3_K"}
    for rows, said in (
        ({"q2_K": cells()}, "none of the probes.*--sensitivities"),
        ({"q3_K": ["0.1", *["404"] * (len(TENSORS) - 1)]}, "1 of this model's 22"),
        ({"q3_K": ["3%", *cells()[1:]]}, "percentages"),
    ):
        with pytest.raises(ConfigError, match=said):
            imported(plan, tool_suite(tmp_path, rows))
    (tmp_path / "own.csv").write_text("unit,tensor_type,kld,base\nuniform,Q4_K,0.1,Q5_K\n")
    with pytest.raises(ConfigError, match=r"measured from Q5_K.*probe_base=budget"):
        imported(plan, tmp_path / "own.csv")
    for unit, said in (("blk.0", "by other parts"), ("blk.9.attn_v", "names blk.9.attn_v")):
        (tmp_path / "own.csv").write_text(f"unit,tensor_type,kld\n{unit},Q3_K,0.1\n")
        with pytest.raises(ConfigError, match=said):
            imported(plan, tmp_path / "own.csv")
    (tmp_path / "own.csv").write_text("unit,tensor_type,kld\nuniform,Q4_K,0.1\n")
    assert imported(plan, tmp_path / "own.csv") == {("uniform", "Q4_K"): 0.1}


def test_a_relatives_sensitivities_leave_the_curve_and_the_gaps_to_measure(tmp_path: Path) -> None:
    """A whole search: one probe a type, and one for the group that the file has not."""
    path = tool_suite(tmp_path, {"iq1_m": ["404", *cells()[1:]]})
    few = {"evaluation__chunks": 4, "baselines__presets": False, "baselines__hybrids": False}
    plan = prepare(tmp_path, trials=1, sensitivities=str(path), types="Q3_K,Q4_K,Q6_K", **few)
    probes = plan_probing(plan).probes
    assert [probe.subject for probe in probes] == ["uniform", "uniform", "uniform", "output"]
    assert plan.config.sensitivities == str(path.resolve())
    search = Search(tmp_path, plan)
    assert search.run().finished
    with search.workplace.open_store() as store:
        study = store.find_study(search.name)
        assert study is not None
        assert len(store.trials(study.id)) == 1


def test_an_uncertain_prior_says_so(tmp_path: Path) -> None:
    plan = prepare(tmp_path)
    shares = dict.fromkeys(plan.parameters, 0.1)
    assert make_prior(plan.space, Sensitivities(shares, {"Q3_K": 0.1})).unit_spread is None
    assert make_prior(plan.space, Sensitivities(shares, {"Q3_K": 0.1}, UNIT_SPREAD)).unit_spread == UNIT_SPREAD
