import json
import os
from pathlib import Path

import pytest

from optimizer.errors import EngineError, RecipeError
from optimizer.gguf import ModelFile, string_pair, uint32_pair
from optimizer.gguf.write import write_gguf
from optimizer.recipes import PresetTable, complete_recipe, load_presets
from optimizer.recipes import presets as presets_module
from optimizer.recipes.dry_run import FTYPES, DryRun, dry_run, parse_log
from optimizer.recipes.presets import IMATRIX_SENSITIVE
from tests.gguf.oracle import llama_quantize
from tests.models import tiny_model

FIXTURES = Path(__file__).parent / "fixtures"


def snapshot(path: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Preset -> (its default type, every tensor that gets another), from a .schema file of llama.cpp's own tests."""
    sections: dict[str, tuple[str, dict[str, str]]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            name, default = line[1:].split("] ")
            sections[name] = (default.upper(), {})
        elif line and not line.startswith("#"):
            tensor, given = line.split(" ")
            sections[name][1][tensor] = given.upper()
    return sections


@pytest.mark.parametrize("name", ["qwen3-14b", "llama-3.1-70b"])
def test_presets_are_those_of_llama_cpps_own_snapshots(headers: Path, cache: Path, name: str) -> None:
    table = load_presets(ModelFile.open(headers / f"{name}-F16.gguf", planning=True), cache_dir=cache)
    expected = snapshot(FIXTURES / f"{name}.schema")
    compared = 0
    for preset, (default, exceptions) in expected.items():
        if preset in table.presets:
            types = table[preset].tensor_types
            assert types == {tensor: exceptions.get(tensor, default) for tensor in types}, preset
            assert set(exceptions) <= set(types)
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize(
    ("which", "preset"),
    [("dense", "Q3_K_M"), ("dense", "Q8_0"), ("dense", "BF16"), ("odd", "Q4_K_M"), ("experts", "Q4_K_M")],
)
def test_presets_are_what_llama_quantize_writes(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, preset: str
) -> None:
    model: ModelFile = request.getfixturevalue(which)
    table: PresetTable = request.getfixturevalue(f"{which}_presets")
    assert llama_quantize(model.paths[0], tmp_path / "out.gguf", preset)
    written = ModelFile.open(tmp_path / "out.gguf")
    assert {name: written.by_name[name].tensor_type for name in table.quantizable} == table[preset].tensor_types
    kept = set(model.by_name) - set(table.quantizable)
    assert all(written.by_name[name].tensor_type == model.by_name[name].tensor_type for name in kept)


def test_fallbacks_are_listed_and_our_rule_is_llama_cpps(odd: ModelFile, odd_presets: PresetTable) -> None:
    down = [name for name in odd_presets.quantizable if "ffn_down" in name]
    assert odd_presets["Q4_K_S"].fallbacks[down[-1]] == ("Q4_K", "Q5_0")
    for preset in odd_presets.presets.values():
        if preset.name in ("F32", "F16", "BF16"):
            assert not preset.fallbacks
            continue
        wanted = dict(preset.tensor_types) | {name: pair[0] for name, pair in preset.fallbacks.items()}
        resolved = complete_recipe(wanted, odd, odd_presets.quantizable)
        assert resolved.fallbacks == preset.fallbacks, preset.name
        assert resolved.recipe == preset.recipe, preset.name


def test_rows_of_no_whole_block_at_all_become_f16(tmp_path: Path, cache: Path) -> None:
    model = ModelFile.open(tiny_model(tmp_path, "llama", n_layer=2, ffn=300))
    table = load_presets(model, cache_dir=cache)
    for preset in ("Q4_K_S", "Q8_0", "IQ4_XS"):
        assert table[preset].tensor_types["blk.0.ffn_down.weight"] == "F16"
        resolved = complete_recipe(
            dict(table[preset].tensor_types) | {n: p[0] for n, p in table[preset].fallbacks.items()},
            model,
            table.quantizable,
        )
        assert resolved.recipe == table[preset].recipe


def test_needs_imatrix_is_when_llama_quantize_refuses(
    dense: ModelFile, dense_presets: PresetTable, tmp_path: Path
) -> None:
    assert not dense_presets.refused
    assert list(dense_presets.presets) == list(FTYPES)
    for name, preset in dense_presets.presets.items():
        if name in ("IQ1_S", "IQ1_M", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_XXS", "IQ3_XS", "Q2_K_S"):
            assert preset.needs_imatrix
            assert not llama_quantize(dense.paths[0], tmp_path / "refused.gguf", name)
        else:
            assert not preset.needs_imatrix


@pytest.mark.parametrize("which", ["dense", "odd", "experts"])
def test_no_other_preset_depends_on_an_imatrix(request: pytest.FixtureRequest, which: str, tmp_path: Path) -> None:
    model: ModelFile = request.getfixturevalue(which)
    answers = dry_run(model.paths[0], [(name, imatrix) for name in FTYPES for imatrix in (False, True)])
    different = {name for name in FTYPES if answers[name, False] != answers[name, True]}
    assert different <= set(IMATRIX_SENSITIVE)
    if which == "dense":
        assert different == set(IMATRIX_SENSITIVE)


def test_two_processes_answer_as_one(dense: ModelFile) -> None:
    requests = [("Q4_K_M", False), ("IQ4_XS", True), ("Q2_K", False)]
    answers = dry_run(dense.paths[0], requests, processes=2)
    assert list(answers) == requests
    assert answers == dry_run(dense.paths[0], requests)


def test_an_imatrix_changes_what_a_preset_chooses(dense: ModelFile, dense_presets: PresetTable, cache: Path) -> None:
    with_imatrix = load_presets(dense, imatrix=True, cache_dir=cache)
    without = dense_presets["IQ4_XS"]
    assert without.tensor_types["blk.0.ffn_down.weight"] == "Q5_K"
    assert with_imatrix["IQ4_XS"].tensor_types["blk.0.ffn_down.weight"] == "IQ4_XS"
    assert without.imatrix_dependent == {"blk.0.ffn_down.weight", "blk.1.ffn_down.weight"}
    assert with_imatrix["IQ4_XS"].imatrix_dependent == without.imatrix_dependent
    assert not dense_presets["Q4_K_M"].imatrix_dependent


def test_natively_quantized_tensors_are_kept(tmp_path: Path, cache: Path) -> None:
    model = ModelFile.open(tiny_model(tmp_path, "qwen3moe", n_layer=2, tensor_type="MXFP4"))
    types = {tensor.name: tensor.tensor_type for tensor in model.tensors}
    table = load_presets(model, cache_dir=cache)
    assert not [name for name in table.quantizable if types[name] == "MXFP4"]


def test_what_is_quantizable(
    dense_presets: PresetTable, experts_presets: PresetTable, odd_presets: PresetTable
) -> None:
    assert dense_presets.quantizable[:3] == ("output.weight", "token_embd.weight", "blk.0.attn_k.weight")
    assert "blk.0.ffn_gate_inp.weight" not in experts_presets.quantizable
    assert "blk.0.ffn_down_exps.weight" in experts_presets.quantizable
    assert experts_presets["MXFP4_MOE"].tensor_types["blk.0.ffn_down_exps.weight"] == "MXFP4"
    assert odd_presets["Q4_K_M"].tensor_types["token_embd.weight"] == "Q6_K"  # tied: typed as the output


def test_names_and_aliases(dense_presets: PresetTable) -> None:
    assert dense_presets["q4_k"].name == "Q4_K_M"
    assert dense_presets["mxfp4"].name == "MXFP4_MOE"
    assert dense_presets.find("Q9_K") is None
    with pytest.raises(RecipeError, match="'Q9_K' is no preset"):
        _ = dense_presets["Q9_K"]


def test_the_answer_is_kept_and_a_damaged_cache_is_asked_again(
    dense: ModelFile, dense_presets: PresetTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_presets(dense, cache_dir=tmp_path) == dense_presets
    (stored,) = (tmp_path / "presets").iterdir()
    calls = []
    monkeypatch.setattr(
        presets_module,
        "dry_run",
        lambda *arguments, **options: calls.append(arguments) or dry_run(*arguments, **options),
    )
    assert load_presets(dense, cache_dir=tmp_path) == dense_presets
    assert not calls
    stored.write_text(json.dumps([["Q4_K_M", False, {"source": 1}]]))
    assert load_presets(dense, cache_dir=tmp_path) == dense_presets
    assert len(calls) == 1
    assert load_presets(dense, imatrix=True, cache_dir=tmp_path).imatrix
    assert len(calls) == 2


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LAYERQUANT_CACHE_DIR", raising=False)
    assert presets_module.default_cache_dir() == tmp_path / "layerquant"
    monkeypatch.setenv("LAYERQUANT_CACHE_DIR", str(tmp_path / "own"))
    assert presets_module.default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("LAYERQUANT_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert presets_module.default_cache_dir().name == "layerquant"


def test_a_cache_that_cannot_be_written_does_no_harm(dense: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "presets").write_text("a file where the folder should be")
    assert load_presets(dense, cache_dir=tmp_path)["Q4_K_M"]


def test_an_architecture_llama_cpp_does_not_know_is_an_engine_error(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    write_gguf(path, [string_pair("general.architecture", "qwen99"), uint32_pair("qwen99.block_count", 2)], [], [])
    with pytest.raises(EngineError, match=r"new\.gguf: this llama.cpp \(.*\) knows no architecture 'qwen99'"):
        load_presets(ModelFile.open(path), cache_dir=tmp_path)


def test_a_native_abort_is_an_engine_error_with_llama_cpps_words(tmp_path: Path) -> None:
    extra = [uint32_pair("qwen3.nextn_predict_layers", 40)]
    path = tiny_model(tmp_path, "qwen3", n_layer=2, extra=extra)
    with pytest.raises(EngineError, match=r"(?s)died while planning it.*GGML_ASSERT"):
        load_presets(ModelFile.open(path), cache_dir=tmp_path)


def test_planning_771_tensors_is_fast(headers: Path, tmp_path: Path) -> None:
    start = _processor_seconds()
    model = ModelFile.open(headers / "qwq-32b-F16.gguf", planning=True)
    table = load_presets(model, cache_dir=tmp_path)
    asked = _processor_seconds()
    assert load_presets(ModelFile.open(model.paths[0], planning=True), cache_dir=tmp_path) == table
    assert asked - start < 3.0  # one on an idle machine
    assert _processor_seconds() - asked < 1.0


def _processor_seconds() -> float:
    """Of this process and its children: what other programs do at the same time does not count."""
    return sum(os.times()[:4])


def test_the_log_is_read_with_fallbacks_and_unchanged_tensors() -> None:
    log = (
        "warning: blk.0.ffn_down.weight                - ncols    288 not divisible by 256 (required for type    q4_K) "
        "-> falling back to    q5_0\n"
        "[   1/   3] output.weight                        - [  256,   267,     1,     1], type =    f16, "
        "size =     0.13 MiB ->     0.05 MiB (q6_K)\n"
        "[   2/   3] output_norm.weight                   - [  256,     1,     1,     1], type =    f32, "
        "size =    0.001 MiB\n"
        "[   3/   3] blk.0.ffn_down.weight                - [  288,   256,     1,     1], type =   bf16, "
        "size =     0.14 MiB ->     0.05 MiB (q5_0)\n"
    )
    assert parse_log(log) == DryRun(
        ("f16", "f32", "bf16"), ("q6_K", "f32", "q5_0"), {"blk.0.ffn_down.weight": ("q4_K", "q5_0")}
    )
