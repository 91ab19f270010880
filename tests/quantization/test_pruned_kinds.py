"""A layer pruned from each kind of model: what is left computes what it did.

The layer is made to add nothing (its last matrices are zero) before it is pruned, so that the file without it must give
the logits of the file with it. A sliding window, a recurrent layer or an expert at the wrong number would change them.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from evaluators.block_influence import block_influence
from evaluators.runtime import Runtime
from evaluators.settings import RuntimeSettings
from optimizer.errors import RecipeError
from optimizer.gguf.model_file import ModelFile, block_number
from optimizer.gguf.pruning import without_layers
from optimizer.quantization import quantize
from optimizer.recipes.recipe import Recipe
from tests.architectures.kinds import KINDS

SETTINGS = RuntimeSettings(ctx_size=64, batch_size=64, threads=1, use_extra_bufts=False)
_LAST = re.compile(r"blk\.\d+\.(attn_output|ffn_down\w*|ssm_out|shortconv\.out_proj)\.(weight|bias)")
"""What a block's results pass through before they are added to the hidden state."""


HYBRIDS = ("qwen3next", "lfm2")
"""Two layers of two kinds: none of the two can go."""


def logits(path: Path) -> np.ndarray:
    tokens = (np.arange(64, dtype=np.int32) * 7) % 200
    with Runtime([path], SETTINGS) as runtime:
        return np.concatenate([step.logits.copy() for step in runtime.decode(tokens, [0])])


def made_idle(path: Path, layer: int) -> int:
    """Zero the last matrices of a layer in place; how many there were."""
    count = 0
    for tensor in ModelFile.open(path).tensors:
        if block_number(tensor.name) == layer and _LAST.fullmatch(tensor.name):
            with tensor.path.open("r+b") as file:
                file.seek(tensor.offset)
                file.write(bytes(tensor.n_bytes))
            count += 1
    return count


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in HYBRIDS])
def test_pruning_a_layer_that_adds_nothing_changes_no_logits(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind].write(tmp_path)
    assert made_idle(path, 1)
    model = ModelFile.open(path)
    kept = {t.name: t.tensor_type for t in model.tensors if len(t.shape) > 1 and block_number(t.name) == 1}
    names = tuple(t.name for t in model.tensors if t.name in kept)
    out = quantize(model, Recipe(kept).without_layers([1]), names, tmp_path / "pruned.gguf")
    assert ModelFile.open(out).n_layer == model.n_layer - 1
    whole, pruned = logits(path), logits(out)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(pruned, whole, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", HYBRIDS)
def test_the_last_layer_of_a_kind_stays(kind: str, tmp_path: Path) -> None:
    """llama.cpp would end its process on a hybrid without attention, or without recurrence."""
    model = ModelFile.open(KINDS[kind].write(tmp_path))
    with pytest.raises(RecipeError, match="Leave one of each"):
        without_layers(model, range(1, model.n_layer))


@pytest.mark.parametrize("kind", ["qwen2", "gemma3", "glm4moe", "gpt-oss", "qwen3next", "falcon-h1", "lfm2"])
def test_influence_of_each_kind(kind: str, tmp_path: Path) -> None:
    path, text = KINDS[kind].write(tmp_path), tmp_path / "text.txt"
    assert made_idle(path, 1)
    text.write_text("the ouner " * 200)
    model = ModelFile.open(path)
    found = block_influence([path], text, SETTINGS, chunks=1)
    assert len(found) == model.n_layer - model.n_nextn_layer
    assert found[1] == pytest.approx(0.0, abs=1e-6)
