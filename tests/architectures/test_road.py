"""Plan, bank, candidates, evaluations, search and export of every kind of model, with the real llama.cpp."""

from pathlib import Path

import pytest

from evaluators.evaluate import evaluate_file
from evaluators.in_process import InProcessEvaluator
from optimizer import llama
from optimizer.export.quantize_command import base_preset
from optimizer.export.tensor_type_file import read_tensor_type_file
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import quantize
from optimizer.recipes import read_layer_types, resolve_layer_types
from optimizer.search.bench import runtime_settings
from optimizer.search.space_building import build_space
from tests.architectures.conftest import Road


def contents(model: ModelFile) -> dict[str, tuple[str, bytes]]:
    """Tensor -> (type, data)."""
    data = {path: path.read_bytes() for path in model.paths}
    return {
        tensor.name: (tensor.tensor_type, data[tensor.path][tensor.offset : tensor.offset + tensor.n_bytes])
        for tensor in model.tensors
    }


def test_a_preset_is_llama_quantizes_file_and_its_size_was_known(road: Road, tmp_path: Path) -> None:
    preset = "MXFP4_MOE" if road.kind.architecture == "gpt-oss" else "Q4_K_M"
    oracle, ours = tmp_path / "oracle.gguf", tmp_path / "ours.gguf"
    llama.quantize_file(road.model.paths[0], oracle, preset, threads=1)
    table = road.plan.presets
    number = llama.file_type_number(preset)
    quantize(road.model, table[preset].recipe, table.quantizable, ours, file_type=number, threads=1)
    assert ours.read_bytes() == oracle.read_bytes()
    assert oracle.stat().st_size == road.plan.preset_bytes[preset]


def test_every_quantizable_tensor_is_in_one_unit_however_they_are_cut(road: Road) -> None:
    for units in ("layers", "groups", "tensors"):
        config = road.plan.config.model_copy(update={"units": units})
        space = build_space(config, road.model, road.plan.presets, road.plan.sizes, None)
        assert sorted(t for unit in space.units for t in unit.tensors) == sorted(road.plan.presets.quantizable)
        fitting = [u for u in space.units if any(road.model.by_name[t].row_length % 32 == 0 for t in u.tensors)]
        assert all(len(unit.options) > 1 for unit in fitting)


def test_trials_fit_the_budget_and_do_damage(road: Road) -> None:
    assert road.outcome.finished
    assert [trial.state for trial in road.trials] == ["complete"] * 3
    budget = road.plan.budgets[0].n_bytes
    for trial in road.trials:
        assert trial.size_bytes <= budget
        assert trial.size_bytes == road.plan.sizes.file_size(road.recipe(trial))
        assert trial.mean_kld is not None
        assert trial.mean_kld > 1e-4


def test_the_exported_file_has_the_bytes_and_the_damage_of_its_trial(road: Road, texts: tuple[Path, Path]) -> None:
    exported, winner = road.export("gguf", "winner.gguf"), road.winner
    assert exported.stat().st_size == winner.size_bytes
    evaluator = InProcessEvaluator(runtime_settings(road.plan.config))
    scored = evaluate_file(evaluator, [exported], road.model.paths, text=texts[0], chunks=8)
    evaluator.close()
    assert scored["mean_kld"] == pytest.approx(winner.mean_kld, rel=1e-9)
    assert scored["size_bytes"] == winner.size_bytes


def test_what_llama_quantize_leaves_alone_is_left_alone(road: Road) -> None:
    source, exported = contents(road.model), contents(ModelFile.open(road.export("gguf", "winner.gguf")))
    assert source.keys() == exported.keys()
    kept = source.keys() - set(road.plan.presets.quantizable)
    assert all(exported[name] == source[name] for name in kept)
    vectors = {tensor.name for tensor in road.model.tensors if len(tensor.shape) == 1}
    parts = ("_norm.weight", ".bias", "ffn_gate_inp.weight", "ssm_conv1d", "ssm_a", "ssm_d", "shortconv.conv", "rope_")
    named = {name for name in source if any(part in name for part in parts)}
    native = {tensor.name for tensor in road.model.tensors if tensor.tensor_type == "MXFP4"}
    assert kept == vectors | named | native


def test_every_export_means_the_same_tensors(road: Road, tmp_path: Path) -> None:
    recipe = road.recipe(road.winner)
    written = read_layer_types(str(road.export("layer-types", "layer_types.sh")))
    assert resolve_layer_types(written, road.model, road.plan.presets).recipe == recipe
    listed = read_tensor_type_file(road.export("tensor-type-file", "types.txt").read_text())
    assert "llama-quantize" in road.export("command", "command.sh").read_text()
    theirs = tmp_path / "theirs.gguf"
    base = base_preset(recipe, road.model)
    llama.quantize_file(road.model.paths[0], theirs, base, tensor_types=dict(listed), threads=1)
    assert contents(ModelFile.open(theirs)) == contents(ModelFile.open(road.export("gguf", "winner.gguf")))
