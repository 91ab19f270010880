"""The evaluator in a child process: same figures, and every way a child can end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from evaluators.errors import EngineCrash, EngineTimeout, ModelLoadError
from evaluators.in_process import InProcessEvaluator
from evaluators.process import EvaluatorProcess
from tests.evaluators.conftest import SETTINGS


@pytest.fixture(scope="module")
def process() -> Iterator[EvaluatorProcess]:
    with EvaluatorProcess(SETTINGS) as process:
        yield process


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.05)


def test_the_figures_are_those_of_this_process(
    process: EvaluatorProcess, evaluator: InProcessEvaluator, tiny: Path, tiny_q4: Path, text: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    reference = process.build_reference(
        [tiny], text, tmp_path / "ref", chunks=4, identity="t", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    seen.clear()
    theirs = process.score([tiny_q4], reference.folder, range(4), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    ours = evaluator.score([tiny_q4], reference.folder, range(4))
    assert theirs == ours
    assert theirs.kld_percentiles == ours.kld_percentiles
    assert process.engine() == evaluator.engine()
    assert process.tokenize([tiny], text) == evaluator.tokenize([tiny], text)


def test_errors_arrive_as_what_they_are_and_the_child_lives(
    process: EvaluatorProcess, reference: Path, tiny: Path
) -> None:
    process.score([tiny], reference, [0])
    before = process.process_id
    with pytest.raises(ModelLoadError, match="does not exist"):
        process.score([Path("nothing.gguf")], reference, [0])
    assert process.score([tiny], reference, [0]).tokens == 31
    assert process.process_id == before


def test_a_native_abort_fails_one_call(
    process: EvaluatorProcess, reference: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A later shard whose split.no is no uint16 makes llama.cpp fail an assertion.
    from gguf import GGUFWriter

    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    for path, numbers in ((first, (0, 2)), (second, (1, 2))):
        writer = GGUFWriter(path, "qwen3")
        add = writer.add_uint16 if path == first else writer.add_float32
        add("split.no", numbers[0])
        writer.add_uint16("split.count", numbers[1])
        writer.add_int32("split.tensors.count", 0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    with pytest.raises(EngineCrash, match=r"(?s)SIGABRT.*GGML_ASSERT"):
        process.score([first, second], reference, [0])
    assert process.score([tiny], reference, [0]).tokens == 31
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_child_killed_in_the_middle_says_so(reference: Path, tiny: Path) -> None:
    with EvaluatorProcess(SETTINGS) as process:
        process.engine()

        def kill(done: int, total: int) -> None:
            if process.process_id is not None:
                os.kill(process.process_id, signal.SIGKILL)

        with pytest.raises(EngineCrash, match="out of memory"):
            process.score([tiny], reference, range(8), kill)


def test_a_child_killed_while_idle_is_replaced_silently(process: EvaluatorProcess, reference: Path, tiny: Path) -> None:
    process.engine()
    process.score([tiny], reference, [0])
    before = process.process_id
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until_gone(before)
    assert process.score([tiny], reference, [0]).tokens == 31
    assert process.process_id not in (None, before)


def test_a_call_that_hangs_is_stopped(reference: Path, tiny: Path) -> None:
    with EvaluatorProcess(SETTINGS, timeout=60.0) as process:
        process.score([tiny], reference, [0])
        before = process.process_id
        assert before is not None
        process._timeout = 0.3
        os.kill(before, signal.SIGSTOP)
        with pytest.raises(EngineTimeout, match=r"0\.3 seconds in score"):
            process.score([tiny], reference, [0])
        wait_until_gone(before)
        process._timeout = 60.0
        assert process.score([tiny], reference, [0]).tokens == 31


def test_an_abandoned_call_leaves_nothing_behind(reference: Path, tiny: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with EvaluatorProcess(SETTINGS) as process:
        process.engine()
        before = process.process_id
        assert before is not None
        with pytest.raises(KeyboardInterrupt):
            process.score([tiny], reference, range(8), interrupt)
        wait_until_gone(before)
        assert process.score([tiny], reference, range(2)).chunk_numbers == (0, 1)


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(
    process: EvaluatorProcess, reference: Path, tiny: Path
) -> None:
    process.score([tiny], reference, [0])
    assert process.process_id is not None
    assert os.getsid(process.process_id) != os.getsid(0)
    os.kill(process.process_id, signal.SIGINT)
    before = process.process_id
    assert process.score([tiny], reference, [1]).tokens == 31
    assert process.process_id == before


def test_threads_take_turns(process: EvaluatorProcess, reference: Path, tiny: Path, tiny_q4: Path) -> None:
    found: dict[str, float] = {}

    def work(path: Path) -> None:
        found[path.name] = process.score([path], reference, [0, 1]).mean_kld

    threads = [threading.Thread(target=work, args=(path,)) for path in (tiny, tiny_q4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[tiny.name] < 1e-6 < found[tiny_q4.name]


def test_closing_ends_the_child_and_a_later_call_starts_one(reference: Path, tiny: Path) -> None:
    process = EvaluatorProcess(SETTINGS)
    process.engine()
    before = process.process_id
    assert before is not None
    process.close()
    assert gone(before)
    assert process.process_id is None
    assert process.score([tiny], reference, [0]).tokens == 31
    process.close()
    process.close()


def test_an_idle_child_lets_go_of_its_model(reference: Path, tiny: Path) -> None:
    with EvaluatorProcess(SETTINGS, idle_release=0.2) as process:
        process.score([tiny], reference, [0])
        assert process.process_id is not None
        child = psutil.Process(process.process_id)
        deadline = time.monotonic() + 15
        while any(mapped.path == str(tiny) for mapped in child.memory_maps()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.score([tiny], reference, [0]).tokens == 31


PARENT = """
import sys, time
from pathlib import Path
from evaluators.process import EvaluatorProcess
process = EvaluatorProcess()
process.engine()
print(process.process_id, flush=True)
time.sleep(600)
"""


def test_the_child_ends_with_its_parent() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    wait_until_gone(child)


def test_settings_differ_by_call(process: EvaluatorProcess, reference: Path, tiny: Path) -> None:
    other = replace(SETTINGS, threads=2, batch_size=64)
    assert process.score([tiny], reference, [0], settings=other).mean_kld < 1e-5
