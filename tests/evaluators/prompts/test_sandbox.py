"""Code runs in bubblewrap or not at all, and passes only where its tests came to their end."""

import socket
from pathlib import Path

import pytest

from evaluators.prompts.sandbox import Bubblewrap, why_unavailable
from tests.evaluators.prompts.sandboxes import fake_bwrap

MEMORY = 512 * 10**6
DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("solution", "passed", "reason"),
    [
        (DOUBLE, True, ""),
        ("def double(x):\n    return x\n", False, "AssertionError"),
        ("double = 3", False, "TypeError"),
        ("def double(x:", False, "SyntaxError"),
        ("def double(x):\n    raise SystemExit(0)", False, "ended with code 0"),
        ("import os\ndef double(x):\n    os._exit(0)", False, "ended with code 0"),
        ("def double(x):\n    while True:\n        pass", False, "1 s of processor time"),
        ("def double(x):\n    return bytearray(10**10)", False, "MemoryError"),
        ("def double(x):\n    while True:\n        print('x' * 10**5)", False, "File too large"),
    ],
)
def test_verdicts_on_programs(tmp_path: Path, solution: str, passed: bool, reason: str) -> None:
    sandbox = Bubblewrap(fake_bwrap(tmp_path))
    ended = sandbox.run(solution, "assert double(4) == 8", seconds=1, memory_bytes=MEMORY)
    assert ended.passed is passed
    assert reason in ended.reason


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "is not installed"),
        ("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n", "No permissions"),
        ("#!/nowhere/shell\n", "does not start"),
    ],
)
def test_without_a_sandbox_nothing_runs_and_nothing_passes(tmp_path: Path, script: str | None, reason: str) -> None:
    program = str(tmp_path / "missing") if script is None else fake_bwrap(tmp_path, script)
    proof = tmp_path / "proof"
    ended = Bubblewrap(program).run(f"open({str(proof)!r}, 'w')", "", seconds=1, memory_bytes=MEMORY)
    assert ended.passed is None
    assert reason in ended.reason
    assert not proof.exists()


@pytest.mark.parametrize(
    "attack",
    [
        "open({proof!r}, 'w')",
        "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
        "open({secret!r}).read()",
        "open('/task/solution.py', 'a')",
        "import os; assert 'LAYERQUANT_SECRET' in os.environ",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
    ],
)
def test_what_this_machine_offers_lets_no_attack_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    """With bubblewrap the attack meets its walls; without, it does not run. Both ways it does not pass."""
    monkeypatch.setenv("LAYERQUANT_SECRET", "1")
    secret, proof = tmp_path / "secret", tmp_path / "proof"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = attack.format(proof=str(proof), secret=str(secret), port=server.getsockname()[1])
        sandbox = Bubblewrap()
        harmless = sandbox.run(DOUBLE, "assert double(4) == 8", seconds=1, memory_bytes=MEMORY)
        ended = sandbox.run(program, "", seconds=1, memory_bytes=MEMORY)
    works = not why_unavailable("bwrap")
    assert harmless.passed is (True if works else None)
    assert ended.passed is (False if works else None)
    assert not proof.exists()
