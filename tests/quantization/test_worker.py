"""The background worker: candidates ahead of time, the urgent one first, failures kept to themselves."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

from optimizer.errors import ImatrixError, StorageError
from optimizer.quantization import Candidate, QuantizationWorker, ShardBank
from optimizer.quantization.requests import ShardRequest
from tests.quantization.conftest import Subject


class GatedBank(ShardBank):
    """A bank that makes nothing until its gate is opened, and notes in which order batches come."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, threads=1)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.order: list[str] = []

    def ensure_all(self, requests, lease, **options):  # type: ignore[no-untyped-def]
        self.entered.set()
        stop = options["stop"]
        while not self.gate.is_set() and not stop():
            time.sleep(0.005)
        self.order += [request.jobs[0].tensor_type for request in requests if request.position == 9]
        super().ensure_all(requests, lease, **options)

    def reserve(self, requests: Sequence[ShardRequest]) -> list[ShardRequest]:
        if any(job.tensor_type == "F32" for request in requests[1:] for job in request.jobs):
            raise StorageError("disk too small for a test")
        return super().reserve(requests)


@pytest.fixture
def gated(tmp_path: Path):  # type: ignore[no-untyped-def]
    with GatedBank(tmp_path / "bank") as bank:
        yield bank


def test_makes_candidates_that_hold_their_shards(dense: Subject, bank: ShardBank) -> None:
    recipes = [dense.presets[name].recipe for name in ("Q4_K_M", "Q5_K_M", "Q4_K_M")]
    with QuantizationWorker(dense.model, dense.presets.quantizable, bank) as worker:
        candidates = [worker.submit(recipe).result(timeout=60) for recipe in recipes]
        progress = worker.progress
    assert [candidate.recipe for candidate in candidates] == recipes
    assert candidates[0].paths == candidates[2].paths
    assert progress.candidates_done == 3
    assert progress.shards_done == progress.shards_total == 3 * (len(dense.presets.quantizable) + 1)
    assert progress.candidates_waiting == progress.candidates_failed == 0
    assert bank.evict(0) == 0
    del candidates
    assert bank.evict(0) > 0


def test_the_most_urgent_is_made_first(dense: Subject, gated: GatedBank) -> None:
    names = dense.presets.quantizable
    with QuantizationWorker(dense.model, names, gated) as worker:
        futures = [worker.submit(dense.presets["Q8_0"].recipe)]
        assert gated.entered.wait(10)
        futures.append(worker.submit(dense.presets["Q6_K"].recipe, priority=5))
        futures.append(worker.submit(dense.presets["Q4_0"].recipe, priority=5))
        futures.append(worker.submit(dense.presets["Q5_0"].recipe, priority=-1))
        worker.prioritize(futures[2], 1)
        gated.gate.set()
        assert all(isinstance(future.result(timeout=60), Candidate) for future in futures)
    assert gated.order == ["Q5_0", "Q8_0", "Q4_0", "Q6_K"]


def test_a_failure_fails_its_own_future_only(dense: Subject, gated: GatedBank) -> None:
    gated.gate.set()
    low = dense.presets["Q4_K_M"].recipe.replace({"blk.0.attn_q.weight": "IQ2_S"})
    with QuantizationWorker(dense.model, dense.presets.quantizable, gated) as worker:
        bad, full, good = (worker.submit(r) for r in (low, dense.presets["F32"].recipe, dense.presets["Q4_K_M"].recipe))
        with pytest.raises(ImatrixError, match=r"blk\.0\.attn_q\.weight cannot be made IQ2_S"):
            bad.result(timeout=60)
        with pytest.raises(StorageError, match="disk too small"):
            full.result(timeout=60)
        assert good.result(timeout=60).paths
        assert worker.progress.candidates_failed == 2


def test_what_is_cancelled_is_not_made(dense: Subject, gated: GatedBank) -> None:
    with QuantizationWorker(dense.model, dense.presets.quantizable, gated) as worker:
        first = worker.submit(dense.presets["Q8_0"].recipe)
        assert gated.entered.wait(10)
        second = worker.submit(dense.presets["Q4_0"].recipe)
        assert second.cancel()
        gated.gate.set()
        first.result(timeout=60)
        assert worker.progress.candidates_waiting == 0
    assert gated.order == ["Q8_0"]


def test_closing_cancels_what_is_not_done(dense: Subject, gated: GatedBank) -> None:
    worker = QuantizationWorker(dense.model, dense.presets.quantizable, gated)
    futures: list[Future[Candidate]] = [worker.submit(dense.presets[name].recipe) for name in ("Q8_0", "Q4_0")]
    assert gated.entered.wait(10)
    worker.close()
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(timeout=1)
    assert list(gated.root.glob("leases/*")) == []
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(dense.presets["Q8_0"].recipe)
