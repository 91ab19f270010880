"""What a plan says of rows that fit few types, of tensors kept as published, and of blocks that no evaluation runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from optimizer.commands.plan import plan
from optimizer.gguf.tensor_types import tensor_bytes
from tests.architectures.conftest import Road
from tests.architectures.kinds import KINDS


def planned(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """As JSON, and as people see it."""
    path = KINDS[kind].write(folder)
    plan(str(path), as_json=True)
    result = json.loads(capsys.readouterr().out)
    plan(str(path))
    return result, " ".join(capsys.readouterr().out.split())


def test_fallbacks_are_shown_with_their_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, text = planned("rows-of-288", tmp_path, capsys)
    (group,) = result["fallback_groups"]
    assert (group["role"], group["row_length"], group["tensors"]) == ("ffn_down", 288, 2)
    expected = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q8_0": "Q8_0"}
    assert group["types"] == expected
    assert group["bytes"] == {wanted: 2 * tensor_bytes((288, 256), given) for wanted, given in expected.items()}
    assert "ffn_down: rows of 288 in 2 tensors: Q2_K becomes Q4_0 (4.5 bits" in text
    assert result["fallbacks"]["Q4_K_S"]["blk.1.ffn_down.weight"] == ["Q4_K", "Q5_0"]


def test_rows_that_fit_nothing_are_f16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, text = planned("rows-of-300", tmp_path, capsys)
    (group,) = result["fallback_groups"]
    assert set(group["types"].values()) == {"F16"}
    assert "Q4_K becomes F16 (16 bits" in text


def test_kept_experts_and_next_token_blocks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, text = planned("gpt-oss", tmp_path, capsys)
    assert not result["fallback_groups"]
    assert "6 tensors are MXFP4 as published and are kept as they are" in text
    result, _ = planned("glm4moe", tmp_path, capsys)
    assert [note for note in result["notes"] if note.startswith("layer 2, for next-token prediction")]
    assert not planned("qwen2", tmp_path, capsys)[0]["notes"]


def test_the_units_options_are_the_fallbacks(road: Road) -> None:
    """What can be chosen for a tensor fits its rows, and no two options of a unit are the same."""
    sizes = road.plan.sizes
    for unit in road.plan.space.units:
        kinds = [tuple(sorted(option.tensor_types.items())) for option in unit.options]
        assert len(set(kinds)) == len(kinds)
        for option in unit.options:
            assert option.n_bytes == sum(sizes.tensor_bytes(name, given) for name, given in option.tensor_types.items())
            if road.kind.name == "rows-of-288" and unit.name.endswith("ffn_down"):
                assert set(option.tensor_types.values()) <= {"Q4_0", "Q5_0", "Q5_1", "Q8_0"}
            if road.kind.name == "rows-of-300" and unit.name.endswith("ffn_down"):
                assert set(option.tensor_types.values()) == {"F16"}
