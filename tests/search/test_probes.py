from pathlib import Path

import pytest

from optimizer.errors import ConfigError
from optimizer.recipes.recipe import Recipe
from optimizer.search.probes import Probe, ProbeResult, fit, plan_probes
from optimizer.search.probing import plan_probing, run_probes
from optimizer.search.type_curve import curve_value
from tests.search.searches import Search, prepare

ONE_BASELINE = {"baselines__variants": False, "baselines__hybrids": False, "baselines__presets": False}
ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def model(n_layer: int) -> dict[str, int]:
    return {"token_embd.weight": 4096, **{f"blk.{i}.{role}.weight": 256 for i in range(n_layer) for role in ROLES}}


def subjects(n_layer: int, kinds: str) -> dict[str, int]:
    tensors = model(n_layer)
    probes = plan_probes(
        tensors, Recipe(dict.fromkeys(tensors, "F16")), ["Q3_K", "Q4_K"], lambda _, t: t, "Q3_K", kinds=kinds
    )
    counts = dict.fromkeys(("uniform", "part", "role"), 0)
    for probe in probes:
        counts[probe.kind] += 1
        changed = {tensor for tensor, kind in probe.recipe.tensor_types.items() if kind != "F16"}
        assert changed == set(probe.tensors)
    return counts


def test_probes_by_kind_of_part() -> None:
    groups, layers = {"uniform": 2, "part": 21, "role": 0}, {"uniform": 2, "part": 5, "role": 5}
    assert subjects(4, "auto") == subjects(4, "groups") == groups
    assert subjects(4, "layers_roles") == layers
    assert subjects(64, "auto") == subjects(64, "layers_roles") == {"uniform": 2, "part": 65, "role": 5}
    assert subjects(64, "groups") == {"uniform": 2, "part": 321, "role": 0}


def test_layers_and_roles_multiply_to_a_separable_model() -> None:
    """Where damage is layer x role, probing both apart finds every group's share."""
    tensors = {name: n for name, n in model(6).items() if name.startswith("blk.")}
    layer_weight, role_weight = {i: 1.0 + i for i in range(6)}, {"attn_qk": 3.0, "attn_v": 5.0, "ffn_down": 1.0}

    def damage(probe: Probe) -> float:
        roles = {"attn_q": "attn_qk", "attn_v": "attn_v", "ffn_down": "ffn_down"}  # the key goes with the query
        tensors = [(int(name.split(".")[1]), roles.get(name.split(".")[2])) for name in probe.tensors]
        return sum(layer_weight[layer] * role_weight[role] for layer, role in tensors if role is not None)

    kept = {n: s for n, s in tensors.items() if n.split(".")[2] in ("attn_q", "attn_k", "attn_v", "ffn_down")}
    probes = plan_probes(kept, Recipe(dict.fromkeys(kept, "F16")), ["Q3_K"], lambda _, t: t, kinds="layers_roles")
    fitted = fit([ProbeResult(probe, damage(probe), 0.0) for probe in probes], 0.0, kept)
    total = sum(layer_weight.values()) * sum(role_weight.values())
    assert fitted.shares["blk.4.attn_v.weight"] == pytest.approx(5.0 * 5.0 / total)
    assert fitted.shares["blk.2.attn_q.weight"] == pytest.approx(3.0 * 3.0 / total / 2)
    assert sum(fitted.shares.values()) == pytest.approx(1.0)


def test_a_failed_probe_is_protected() -> None:
    tensors = model(2)
    probes = plan_probes(tensors, Recipe(dict.fromkeys(tensors, "F16")), ["Q3_K"], lambda _, t: t)
    results = [ProbeResult(p, None if p.subject == "blk.1.attn_v" else 0.1, 0.0) for p in probes]
    shares = fit(results, 0.0, tensors).shares
    assert shares["blk.1.attn_v.weight"] == pytest.approx(3 * shares["blk.0.attn_v.weight"])


def test_the_curve_between_measured_types() -> None:
    curve = {"Q2_K": 0.4, "Q4_K": 0.02, "Q8_0": 0.0001}
    assert curve_value(curve, "Q4_K") == 0.02
    assert 0.02 < curve_value(curve, "Q3_K") < 0.4
    assert curve_value(curve, "IQ4_NL") == pytest.approx(0.02)
    assert curve_value({"Q4_K": 0.02}, "Q5_K") == pytest.approx(0.02 / 4)


def test_probes_start_from_the_source_or_from_the_budget(tmp_path: Path) -> None:
    source = plan_probing(prepare(tmp_path, probe_base="source"))
    assert source.base.is_source
    assert plan_probing(prepare(tmp_path)).base == source.base
    around = plan_probing(prepare(tmp_path, probe_base="budget", budget="5bpw"))
    assert (around.base.name, around.base.is_source) == ("Q4_K", False)
    part = next(probe for probe in around.probes if probe.kind == "part")
    assert set(part.recipe.tensor_types.values()) == {"Q4_K", "Q3_K"}
    with pytest.raises(ConfigError, match="no uniform type above Q3_K fits"):
        plan_probing(prepare(tmp_path, probe_base="budget", budget="3.2bpw"))


def test_another_budget_of_the_model_probes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Search(tmp_path, prepare(tmp_path, trials=1, budget="4.5bpw", evaluation__chunks=4, **ONE_BASELINE))
    second = Search(tmp_path, prepare(tmp_path, trials=1, budget="5.5bpw", evaluation__chunks=4, **ONE_BASELINE))
    second.name = "another budget"
    spent: list[int] = []

    def counted(*arguments: object) -> object:
        search = (first, second)[len(spent)]
        before = search.scored
        fitted = run_probes(*arguments)  # type: ignore[arg-type]
        spent.append(search.scored - before)
        return fitted

    monkeypatch.setattr("optimizer.search.early_phases.run_probes", counted)
    assert first.run().finished
    assert second.run().finished
    assert spent == [len(plan_probing(first.plan).probes), 0]
