"""Candidates load in llama.cpp as they are, and compute what llama-quantize's own file computes, bit for bit."""

import ctypes
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer import llama
from optimizer.errors import ConfigError, ImatrixError, RecipeError
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import (
    ShardBank,
    assemble,
    join,
    link_folder,
    plan_candidate,
    raise_open_file_limit,
)
from optimizer.quantization.requests import ShardRequest
from optimizer.recipes.recipe import Recipe
from tests.quantization.conftest import Subject, imatrix_of, subject

TOKENS = [1, 17, 42, 99, 3, 250, 8, 77]


def logits(paths: Sequence[Path], *, by_first_path: bool = False) -> NDArray[np.float32]:
    """float32 [tokens, vocabulary] of a fixed prompt on one thread."""
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    names = (ctypes.c_char_p * len(paths))(*[str(path).encode() for path in paths])
    if by_first_path or len(paths) == 1:
        model = llama_cpp.llama_model_load_from_file(str(paths[0]).encode(), parameters)
    else:
        model = llama_cpp.llama_model_load_from_splits(names, len(paths), parameters)
    assert model, "llama.cpp does not load it"
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = 32
    settings.n_threads = settings.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, settings)
    batch = llama_cpp.llama_batch_init(len(TOKENS), 0, 1)
    try:
        batch.n_tokens = len(TOKENS)
        for index, token in enumerate(TOKENS):
            batch.token[index], batch.pos[index], batch.logits[index] = token, index, True
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        assert llama_cpp.llama_decode(context, batch) == 0
        n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        values = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(TOKENS), n_vocab)).copy()
    finally:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)
    return values


@pytest.fixture(scope="module", params=["dense", "experts", "tied"])
def any_subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    if request.param == "tied":
        return subject(tmp_path_factory.mktemp("tied"), n_layer=1, tied=True, tensor_type="BF16", splits=3)
    found: Subject = request.getfixturevalue(request.param)
    return found


def test_computes_what_llama_quantizes_file_computes(any_subject: Subject, bank: ShardBank, tmp_path: Path) -> None:
    own = any_subject
    llama.quantize_file(own.path, tmp_path / "oracle.gguf", "Q4_K_M", threads=2)
    recipe = own.presets["Q4_K_M"].recipe
    with assemble(own.model, recipe, own.presets.quantizable, bank) as candidate:
        assert len(candidate.paths) == len(own.presets.quantizable) + 1
        expected = logits([tmp_path / "oracle.gguf"])
        assert np.isfinite(expected).all()
        assert expected.std() > 0
        np.testing.assert_array_equal(logits(candidate.paths), expected)
        joined = join(own.model, candidate, tmp_path / "joined.gguf", provenance="{}")
        np.testing.assert_array_equal(logits([joined]), expected)
        first = link_folder(candidate, tmp_path / "links", "tiny-Q4_K_M")
        np.testing.assert_array_equal(logits([first], by_first_path=True), expected)


def test_mixed_types_load_too(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    kinds = ["Q2_K", "IQ4_XS", "Q8_0", "F16", "IQ2_XS", "Q5_0"]
    names = dense.presets.quantizable
    recipe = Recipe({name: kinds[number % len(kinds)] for number, name in enumerate(names)})
    imatrix = imatrix_of(dense.model)
    overrides = {f"^{name}$": kind for name, kind in recipe.tensor_types.items()}
    oracle = tmp_path / "oracle.gguf"
    vectors = dict(imatrix.vectors)
    llama.quantize_file(dense.path, oracle, "Q4_0", tensor_types=overrides, importance=vectors, threads=2)
    with assemble(dense.model, recipe, names, bank, imatrix) as candidate:
        np.testing.assert_array_equal(logits(candidate.paths), logits([oracle]))


def test_where_few_files_may_be_open_tensors_share_shards(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    recipe = dense.presets["Q4_K_M"].recipe
    with assemble(dense.model, recipe, dense.presets.quantizable, bank) as single:
        expected = logits(single.paths)
        alone = join(dense.model, single, tmp_path / "alone.gguf").read_bytes()
    made = bank.stats().made
    with assemble(dense.model, recipe, dense.presets.quantizable, bank, max_files=5) as mixed:
        assert len(mixed.paths) == 5
        assert bank.stats().made == made + 5  # copies of what is there, and another meta shard
        np.testing.assert_array_equal(logits(mixed.paths), expected)
        assert join(dense.model, mixed, tmp_path / "mixed.gguf").read_bytes() == alone


def test_a_new_recipe_makes_only_what_is_new(dense: Subject, bank: ShardBank) -> None:
    first = dense.presets["Q4_K_M"].recipe
    changed = first.replace({"blk.1.attn_q.weight": "Q8_0"})
    with assemble(dense.model, first, dense.presets.quantizable, bank) as one:
        made = bank.stats().made
        with assemble(dense.model, changed, dense.presets.quantizable, bank) as other:
            assert bank.stats().made == made + 1
            assert sum(a != b for a, b in zip(one.paths, other.paths, strict=True)) == 1


def test_shards_that_were_planned_before_are_the_same_ones(dense: Subject, bank: ShardBank) -> None:
    names, known = dense.presets.quantizable, dict[tuple[str, str], ShardRequest]()
    for preset in ("Q4_K_M", "Q3_K_M", "Q4_K_M"):
        recipe = dense.presets[preset].recipe
        for each in (recipe, recipe.without_layers([1])):
            plain = plan_candidate(dense.model, each, names, bank)
            assert plan_candidate(dense.model, each, names, bank, known=known) == plain
    planned = {pair for preset in ("Q4_K_M", "Q3_K_M") for pair in dense.presets[preset].recipe.tensor_types.items()}
    assert set(known) == planned


def test_progress_counts_shards(dense: Subject, bank: ShardBank) -> None:
    seen: list[tuple[int, int]] = []
    recipe, total = dense.presets["Q3_K_M"].recipe, len(dense.presets.quantizable) + 1
    with assemble(dense.model, recipe, dense.presets.quantizable, bank, progress=lambda *step: seen.append(step)):
        assert seen[0] == (0, total)
        assert seen[-1] == (total, total)
        assert seen == sorted(seen)


def test_a_failed_candidate_lets_go_of_its_shards(dense: Subject, bank: ShardBank) -> None:
    recipe = dense.presets["Q4_K_M"].recipe.replace({"blk.1.ffn_up.weight": "IQ2_S"})
    with pytest.raises(ImatrixError, match=r"blk\.1\.ffn_up\.weight"):
        assemble(dense.model, recipe, dense.presets.quantizable, bank)
    assert list(bank.root.glob("leases/*")) == []


def test_a_recipe_of_another_model_is_refused(dense: Subject, experts: Subject, bank: ShardBank) -> None:
    with pytest.raises(RecipeError, match=r"not one for tiny\.gguf"):
        assemble(dense.model, experts.presets["Q4_K_M"].recipe, dense.presets.quantizable, bank)


def test_link_folders_outlive_evictions(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    with assemble(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, bank) as candidate:
        first = link_folder(candidate, tmp_path / "links", "tiny")
        count = len(candidate.paths)
    assert bank.evict(0) > 0
    assert first.name == f"tiny-00001-of-{count:05d}.gguf"
    assert ModelFile.open(first).by_name["blk.0.attn_q.weight"].tensor_type == "Q8_0"


def test_a_link_folder_holds_one_candidate(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    names = dense.presets.quantizable
    with assemble(dense.model, dense.presets["Q8_0"].recipe, names, bank) as candidate:
        link_folder(candidate, tmp_path, "tiny")
    with assemble(dense.model, dense.presets["Q4_K_M"].recipe, names, bank, max_files=4) as candidate:
        first = link_folder(candidate, tmp_path, "tiny")
    assert sorted(path.name for path in tmp_path.glob("*.gguf")) == [f"tiny-{n:05d}-of-00004.gguf" for n in range(1, 5)]
    assert ModelFile.open(first).by_name["blk.0.attn_q.weight"].tensor_type == "Q4_K"


def test_other_file_systems_get_symbolic_links(
    dense: Subject, bank: ShardBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_device(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_device)
    with assemble(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, bank) as candidate:
        first = link_folder(candidate, tmp_path / "links", "tiny")
        assert first.is_symlink()
        assert ModelFile.open(first).n_layer == 2
        with pytest.raises(ConfigError, match="file name"):
            link_folder(candidate, tmp_path, "a/b")


def test_the_open_file_limit_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        assert raise_open_file_limit(2000) >= min(2000, before[1] - 64)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
