"""Block influence: what a block that changes nothing has, and what the hidden states themselves give."""

import re
from pathlib import Path

import numpy as np
import pytest

from evaluators.block_influence import _Observer, block_influence
from evaluators.errors import DecodeError, EvaluationError, TextError
from evaluators.fake import FakeEvaluator
from evaluators.imatrix.graph_node import Callback, Node, NodeReader
from evaluators.process import EvaluatorProcess
from evaluators.runtime import Runtime, tokenize
from optimizer.gguf import ModelFile
from tests.evaluators.conftest import SETTINGS
from tests.models import tiny_model


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks, of which the one in the middle adds zero to the hidden state."""
    path = tiny_model(tmp_path_factory.mktemp("idle"), n_layer=3, seed=4)
    with path.open("r+b") as file:
        for tensor in ModelFile.open(path).tensors:
            if re.fullmatch(r"blk\.1\.(attn_output|ffn_down)\.weight", tensor.name):
                file.seek(tensor.offset)
                file.write(bytes(tensor.n_bytes))
    return path


def test_a_block_that_adds_nothing_has_no_influence(idle: Path, text: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = block_influence([idle], text, SETTINGS, chunks=3, progress=lambda *step: seen.append(step))
    assert len(found) == 3
    assert found[1] == pytest.approx(0.0, abs=1e-12)
    assert found[0] > 0.01
    assert found[2] > 0.01
    assert seen == [(2, 3), (3, 3)]


def test_it_is_the_mean_cosine_of_the_states(idle: Path, text: Path) -> None:
    """The same figure from the states as one array each, whatever the shape of the batches."""
    states: dict[str, list[np.ndarray]] = {}
    reader = NodeReader()

    def look(address: int, asking: bool, _: object) -> bool:
        node = Node.from_address(address)
        name = node.name.decode()
        if not asking and (name == "embd" or name.startswith("l_out-")):
            states.setdefault(name, []).append(reader.floats(address, node).reshape(-1, 256).astype(np.float64))
        return name == "embd" or name.startswith("l_out-")

    callback = Callback(look)
    with Runtime([idle], SETTINGS, on_node=callback) as runtime:
        for group in ([0, 1], [2]):
            for _ in runtime.pass_over(tokenize([idle], text).tokens, group):
                pass
    whole = {name: np.concatenate(parts) for name, parts in states.items()}
    assert {len(state) for state in whole.values()} == {3 * SETTINGS.ctx_size}
    into, out = whole["l_out-1"], whole["l_out-2"]
    cosine = (into * out).sum(1) / np.linalg.norm(into, axis=1) / np.linalg.norm(out, axis=1)
    assert block_influence([idle], text, SETTINGS, chunks=3)[2] == pytest.approx(1 - cosine.mean(), rel=1e-6)


def test_the_child_process_measures_the_same(idle: Path, text: Path) -> None:
    with EvaluatorProcess(SETTINGS) as process:
        found = process.block_influence([idle], text, chunks=2)
    assert found == block_influence([idle], text, SETTINGS, chunks=2)


def test_a_text_that_is_too_short(idle: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("few words")
    with pytest.raises(TextError, match="chunks"):
        block_influence([idle], tmp_path / "short.txt", SETTINGS, chunks=3)


def test_directions_and_what_cannot_be_compared() -> None:
    along, across = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 3.0]], np.float32)
    observer = _Observer()
    for layer, state in ((None, along), (0, 5 * along), (1, across), (2, -across)):
        observer._take(layer, state)
    assert observer.influences() == pytest.approx((0.0, 1.0, 2.0))
    observer._take(None, along)
    with pytest.raises(EvaluationError, match="behind layer 1 where that behind layer 0"):
        observer._take(1, along)
    with pytest.raises(EvaluationError, match="prune_candidates"):
        _Observer().influences()
    observer._take(None, along)
    with pytest.raises(DecodeError, match="not finite"):
        observer._take(0, np.array([[np.inf, 0.0]], np.float32))


def test_the_fake_ranks_layers_the_same_each_time(idle: Path, text: Path) -> None:
    found = FakeEvaluator(SETTINGS).block_influence([idle], text, chunks=2)
    assert found == FakeEvaluator(SETTINGS).block_influence([idle], text, chunks=1)
    assert max(found[1:-1]) < min(found[0], found[-1])
