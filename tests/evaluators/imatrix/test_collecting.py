"""Activation sums against llama-imatrix's own file, and every way of getting to the same sums against each other."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from evaluators.errors import DecodeError, EvaluationInputError, ReferenceMismatch, TextError
from evaluators.imatrix import SumsFile, collecting
from evaluators.imatrix.collecting import collect_activations
from evaluators.imatrix.graph_node import NodeReader
from evaluators.imatrix.observer import ActivationObserver, _Order
from evaluators.runtime import engine_info
from evaluators.settings import RuntimeSettings
from tests.evaluators.conftest import SETTINGS
from tests.evaluators.imatrix.models import experts_model

FIXTURES = Path(__file__).parents[1] / "fixtures"
ROOT = Path(__file__).parents[3]
DEMO, TEXT = ROOT / "demo/model/demo-F16.gguf", ROOT / "demo/texts/imatrix.txt"
EXPERTS = RuntimeSettings(ctx_size=128, batch_size=256, threads=1)

Sums = dict[str, tuple[list[int], np.ndarray]]


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experts_model(tmp_path_factory.mktemp("experts"))


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., Sums]:
    def run(model: Path, settings: RuntimeSettings, text: Path = TEXT, **options: object) -> Sums:
        path = tmp_path / f"sums-{len(list(tmp_path.iterdir()))}"
        return sums_in(collect_activations([model], text, path, settings, identity="model", **options).path)  # type: ignore[arg-type]

    return run


def sums_in(path: Path) -> Sums:
    return {name: (counts.tolist(), np.array(sums)) for name, counts, sums in SumsFile.open(path).weights()}


def assert_same(ours: Sums, theirs: Sums) -> None:
    assert ours.keys() == theirs.keys()
    for name, (counts, sums) in theirs.items():
        assert ours[name][0] == counts, name
        np.testing.assert_array_equal(ours[name][1], sums, err_msg=name)


def same_machine() -> bool:
    """Whether this processor sums as that of the fixtures does: elsewhere a matrix product rounds in another order."""
    recorded = (FIXTURES / "system_info.txt").read_text()

    def features(text: str) -> set[str]:
        return set(re.findall(r"\b(\w+) = 1", text))

    return features(recorded) == features(engine_info().system_info)


@pytest.mark.parametrize(
    ("name", "settings", "chunks", "process_output"),
    [("demo", RuntimeSettings(ctx_size=256, batch_size=512, threads=1), 3, False), ("experts", EXPERTS, 5, True)],
)
def test_equals_llama_imatrix(
    collect: Callable[..., Sums], experts: Path, name: str, settings: RuntimeSettings, chunks: int, process_output: bool
) -> None:
    model = DEMO if name == "demo" else experts
    recorded = (FIXTURES / f"imatrix/{name}.sha256").read_text().strip()
    assert hashlib.sha256(model.read_bytes()).hexdigest() == recorded, "run tests/evaluators/make_imatrix_fixtures.sh"
    ours = collect(model, settings, chunks=chunks, process_output=process_output)
    theirs = {tensor.name: tensor.data for tensor in gguf.GGUFReader(FIXTURES / f"imatrix/{name}.gguf").tensors}
    assert {f"{each}.{suffix}" for each in ours for suffix in ("counts", "in_sum2")} == set(theirs)
    for weight, (counts, sums) in ours.items():
        assert theirs[f"{weight}.counts"].reshape(-1).tolist() == counts, weight
        expected = theirs[f"{weight}.in_sum2"].reshape(sums.shape)
        tolerance = 1e-5 if same_machine() else 2e-2
        np.testing.assert_allclose(sums, expected, rtol=tolerance, atol=0, err_msg=weight)


def test_experts_are_counted_one_by_one(collect: Callable[..., Sums], experts: Path) -> None:
    found = collect(experts, EXPERTS, chunks=2)
    for name, (counts, _) in found.items():
        used = 2 * 256 if "_exps" in name else 256  # two experts a token
        assert sum(counts) == used, name
        assert len(counts) == (4 if "_exps" in name else 1)


@pytest.mark.parametrize(
    "settings",
    [
        EXPERTS,
        replace(EXPERTS, ubatch_size=48),  # ubatches of 48 and 32 tokens: graphs of two shapes
        replace(EXPERTS, batch_size=50, ubatch_size=50),  # 50, 50, 28: a chunk longer than a batch
        replace(EXPERTS, batch_size=60, ubatch_size=60),  # 60, 60, 8: too few rows at the end
    ],
)
@pytest.mark.parametrize("process_output", [False, True])
def test_shortcuts_change_nothing(
    collect: Callable[..., Sums],
    experts: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: RuntimeSettings,
    process_output: bool,
) -> None:
    """Against summing every weight by itself and computing every graph to its end."""
    quick = collect(experts, settings, chunks=3, process_output=process_output)
    monkeypatch.setattr(ActivationObserver, "_equals_last", lambda *_: False)
    monkeypatch.setattr(_Order, "is_whole", lambda _: False)
    assert_same(quick, collect(experts, settings, chunks=3, process_output=process_output))
    assert ("output.weight" in quick) == process_output


def test_the_shortcuts_are_taken(collect: Callable[..., Sums], experts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summed: list[str] = []
    collected = ActivationObserver._collect

    def counting(self: ActivationObserver, node: object) -> bool:
        goes_on = collected(self, node)  # type: ignore[arg-type]
        assert self._last is not None
        summed.append(self._last.name if goes_on else "cut")
        return goes_on

    monkeypatch.setattr(ActivationObserver, "_collect", counting)
    collect(experts, replace(EXPERTS, batch_size=128), chunks=2)
    # Two layers, two chunks, each: Q for Q, K and V; attention's output; the router; gate for gate and up; down.
    assert len(summed) == 2 * 2 * 5
    assert summed[-1] == "cut"
    assert summed.count("cut") == 1


def test_values_in_device_memory_are_copied(
    collect: Callable[..., Sums], experts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = collect(experts, EXPERTS, chunks=2)
    prepare = NodeReader.__init__

    def elsewhere(self: NodeReader) -> None:
        prepare(self)
        self._is_host = lambda _: False

    monkeypatch.setattr(NodeReader, "__init__", elsewhere)
    assert_same(here, collect(experts, EXPERTS, chunks=2))


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("stop_after", [2, 4, 6])
def test_an_interrupted_run_continues(
    collect: Callable[..., Sums], experts: Path, tmp_path: Path, stop_after: int
) -> None:
    whole = collect(experts, EXPERTS, chunks=7)
    path = tmp_path / "interrupted"

    def stop(done: int, total: int) -> None:
        assert total == 7
        if done >= stop_after:
            raise Stopped

    with pytest.raises(Stopped):
        collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=7, progress=stop)
    assert SumsFile.open(path).chunks_done == stop_after
    steps: list[int] = []
    found = collect_activations(
        [experts], TEXT, path, EXPERTS, identity="model", chunks=7, progress=lambda done, _: steps.append(done)
    )
    assert found.chunks_before == stop_after
    assert steps[0] == stop_after + (1 if stop_after == 6 else 2)
    assert_same(sums_in(path), whole)


def test_it_saves_as_often_as_asked(experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_SAVING_SHARE", float("inf"))  # however long a save takes on this machine
    kept: list[int] = []
    path = tmp_path / "sums"

    def look(done: int, total: int) -> None:
        kept.append(SumsFile.open(path).chunks_done if path.exists() else 0)

    collect_activations(
        [experts], TEXT, path, EXPERTS, identity="model", chunks=9, save_every=4, save_seconds=0.0, progress=look
    )
    assert kept == [0, 0, 4, 4, 8]


def test_what_another_run_left_is_refused(experts: Path, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=2)
    other = tmp_path / "other.txt"
    other.write_text("other " * 3000)
    for text, settings, identity, what in (
        (other, EXPERTS, "model", "text: "),
        (TEXT, replace(EXPERTS, ctx_size=64), "model", "ctx_size: 128 -> 64"),
        (TEXT, EXPERTS, "another", "model: model -> another"),
    ):
        with pytest.raises(ReferenceMismatch, match=what):
            collect_activations([experts], text, path, settings, identity=identity, chunks=2)
    # Other threads give the same sums, so they may continue.
    again = collect_activations([experts], TEXT, path, replace(EXPERTS, threads=2), identity="model", chunks=2)
    assert again.chunks_before == 2


def test_a_run_of_an_odd_number_of_chunks_is_not_extended(
    collect: Callable[..., Sums], experts: Path, tmp_path: Path
) -> None:
    """Its last batch held fewer chunks than a longer run's would: the longer run starts again, and is itself."""
    path = tmp_path / "odd"
    collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=3)
    found = collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=6)
    assert found.chunks_before == 0
    assert_same(sums_in(path), collect(experts, EXPERTS, chunks=6))


def test_bad_input(experts: Path, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    with pytest.raises(TextError, match="needed: 100000"):
        collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=100000)
    path.write_bytes(b"{}\n")
    with pytest.raises(EvaluationInputError, match="remove it"):
        collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=2)
    path.unlink()
    collect_activations([experts], TEXT, path, EXPERTS, identity="model", chunks=2)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EvaluationInputError, match="cut off"):
        SumsFile.open(path)


def test_activations_that_are_no_numbers(tiny: Path, text: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny.read_bytes())
    place = next(each for each in gguf.GGUFReader(tiny).tensors if each.name == "blk.1.attn_norm.weight").data_offset
    with broken.open("r+b") as file:
        file.seek(place)
        file.write(np.array([np.nan], np.float32).tobytes())
    path = tmp_path / "sums"
    with pytest.raises(DecodeError, match=r"blk\.1\.attn_q\.weight are not finite"):
        collect_activations([broken], text, path, SETTINGS, identity="broken", chunks=2)
    assert not path.exists()
