"""What a wider space would give: changes that apply, forecasts that never get worse, errors that say what is known."""

import json
import math
from pathlib import Path

import pytest

from optimizer.errors import ConfigError
from optimizer.search.hints import UNPROBED_ERROR, Hint, keep_form, kept_hints
from optimizer.search.planning import Plan
from optimizer.search.probes import Sensitivities
from optimizer.search.wider import find_hints, widened_settings
from tests.search.searches import prepare

CURVE = {"Q2_K": 0.2, "Q3_K": 0.05, "Q4_K": 0.01, "Q5_K": 0.003, "Q6_K": 0.001, "Q8_0": 0.0001}


def sensitivities(plan: Plan, **curve: float) -> Sensitivities:
    """Attention values three times as sensitive a weight as all else."""
    weights = {name: n * (3.0 if "attn_v" in name else 1.0) for name, n in plan.parameters.items()}
    total = sum(weights.values())
    return Sensitivities({name: weight / total for name, weight in weights.items()}, CURVE | curve)


def hints(plan: Plan, **curve: float) -> dict[str, Hint]:
    return {hint.change: hint for hint in find_hints(plan, sensitivities(plan, **curve))}


def test_by_layers_every_change_applies_and_groups_help(tmp_path: Path) -> None:
    found = hints(prepare(tmp_path, units="layers"))
    assert list(found) == ["allow IQ3_S, IQ4_XS, IQ4_NL", "decide by groups", "2 % more bytes"]
    assert found["decide by groups"].ratio < 0.99
    assert found["2 % more bytes"].ratio < 0.99


def test_what_is_allowed_already_is_left_out(tmp_path: Path) -> None:
    plan = prepare(tmp_path, units="tensors", types="Q3_K,IQ3_S,Q4_K,IQ4_XS,Q6_K")
    assert list(widened_settings(plan)) == ["allow IQ4_NL"]
    everything = prepare(tmp_path, units="tensors", types="Q3_K,IQ3_S,Q4_K,IQ4_XS,IQ4_NL,Q6_K")
    assert list(hints(everything)) == ["2 % more bytes"]


@pytest.mark.parametrize("units", ["layers", "groups", "tensors"])
def test_more_freedom_is_never_forecast_to_be_worse(tmp_path: Path, units: str) -> None:
    plan = prepare(tmp_path, units=units, budget="Q3_K_M,IQ4_XS,Q4_K_M")
    found = find_hints(plan, sensitivities(plan))
    assert {hint.budget for hint in found} == {"Q3_K_M", "IQ4_XS", "Q4_K_M"}
    assert all(0 < hint.ratio <= 1 for hint in found)


def test_a_type_that_costs_little_and_was_probed_is_recommended_without_the_extra_error(tmp_path: Path) -> None:
    plan = prepare(tmp_path, units="groups")
    change = "allow IQ3_S, IQ4_XS, IQ4_NL"
    guessed = hints(plan)[change]
    probed = hints(plan, IQ3_S=0.02, IQ4_XS=0.004, IQ4_NL=0.004)[change]
    assert probed.unprobed == 0
    assert probed.ratio < 0.8
    assert guessed.unprobed > 0
    assert guessed.note
    assert not probed.note


def test_errors_are_on_a_log_scale_and_grow_with_what_no_probe_saw() -> None:
    seen = Hint("IQ4_XS", 100, "x", 0.8, 0.0).with_error(0.05)
    assert (seen["low"], seen["high"]) == (pytest.approx(0.8 * math.exp(-0.05)), pytest.approx(0.8 * math.exp(0.05)))
    assert seen["error_from"] == "trials"
    unseen = Hint("IQ4_XS", 100, "x", 0.8, 0.5).with_error(0.05)
    assert math.log(unseen["high"] / 0.8) == pytest.approx(math.hypot(0.05, UNPROBED_ERROR / 2))
    assert Hint("IQ4_XS", 100, "x", 0.8, 0.0).with_error(None)["error_from"] == "assumed"


def test_a_change_that_cannot_be_made_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = prepare(tmp_path, units="groups")

    def refuse(*_: object) -> None:
        raise ConfigError("the bounds leave nothing")

    monkeypatch.setattr("optimizer.search.wider.build_space", refuse)
    assert list(hints(plan)) == ["2 % more bytes"]


def test_kept_hints_survive_json() -> None:
    found = [Hint("IQ4_XS", 100, "x", 0.8, 0.25, "why"), Hint("4.0bpw", 90, "y", 1.0, 0.0)]
    assert kept_hints(json.loads(json.dumps(keep_form(found)))) == found
    assert kept_hints(None) == []
