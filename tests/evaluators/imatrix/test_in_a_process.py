"""Activations summed in the child process: Ctrl-C saves, a native abort is an error, and the next call goes on."""

import os
import signal
from pathlib import Path

import pytest

from evaluators.errors import EngineCrash
from evaluators.imatrix import SumsFile
from evaluators.in_process import InProcessEvaluator
from evaluators.process import EvaluatorProcess
from tests.evaluators.conftest import SETTINGS


def test_it_is_saved_when_abandoned_and_survives_a_crash(tiny: Path, text: Path, tmp_path: Path) -> None:
    here, path = tmp_path / "here", tmp_path / "sums"
    InProcessEvaluator(SETTINGS).collect_activations([tiny], text, here, identity="tiny", chunks=14)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    def kill(done: int, total: int) -> None:
        assert evaluator.process_id is not None
        os.kill(evaluator.process_id, signal.SIGKILL)

    with EvaluatorProcess(SETTINGS) as evaluator:
        with pytest.raises(KeyboardInterrupt):
            evaluator.collect_activations([tiny], text, path, identity="tiny", chunks=14, progress=interrupt)
        assert evaluator.process_id is None
        saved = SumsFile.open(path).chunks_done
        assert saved in (4, 6, 8, 10, 12, 14)  # the batch under way when it was told
        if saved < 14:
            with pytest.raises(EngineCrash, match="collect_activations"):
                evaluator.collect_activations([tiny], text, path, identity="tiny", chunks=14, progress=kill)
        found = evaluator.collect_activations([tiny], text, path, identity="tiny", chunks=14)
    assert (found.chunks, found.chunks_before) == (14, saved)
    assert path.read_bytes() == here.read_bytes()
