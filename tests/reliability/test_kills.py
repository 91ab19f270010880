"""kill -9 in every stage: the same command goes on, and ends as the search that nobody disturbed."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.postgres import private_server
from tests.reliability.processes import KILLED, Fault, run
from tests.reliability.states import NAME, digest, end_state, half_written

BANK, STORE = "optimizer.quantization", "optimizer.store"
REPORT = "optimizer.search.study_report:honesty_of"
STAGES = {
    "reference": [Fault("evaluators.reference:_write_tokens", after=True)],
    "quantize": [
        Fault(f"{BANK}.bank:write_shard", 3),
        Fault(f"{BANK}.shard:write_at", 8, after=True),
        Fault("os:replace", 5),
        Fault("os:replace", 6, after=True),
    ],
    "assemble": [Fault(f"{BANK}.worker:plan_candidate", 3), Fault(f"{BANK}.bank:ShardBank.ensure_all", 2, after=True)],
    "evaluate": [
        Fault("evaluators.fake:FakeEvaluator.score", 2),
        Fault("evaluators.fake:FakeEvaluator.score", 3, after=True),
    ],
    "commit": [
        Fault(f"{STORE}.catalogue:insert_evaluations", 2, after=True),
        Fault(f"{STORE}:Store.start_trial", 2, after=True),
        Fault(f"{STORE}:Store.reconcile", after=True),
        Fault(f"{STORE}.trials:insert_events", after=True),
        Fault(f"{STORE}:Store.finish_trial", 2, after=True),
    ],
    "tell": [Fault("optuna.study:Study.tell"), Fault("optuna.study:Study.tell", 2, after=True)],
    "report": [Fault(REPORT), Fault(REPORT, after=True)],
}  # fmt: skip
EXPORT = [
    pytest.param(Fault(f"{BANK}.join:_write_header", after=True), marks=pytest.mark.long),
    Fault(f"{BANK}.join:copy_bytes", 5, after=True),
    pytest.param(Fault(f"{BANK}.join:_finish", after=True), marks=pytest.mark.long),
]
STATEMENT = "sqlalchemy.engine.default:DefaultDialect.do_execute"


@pytest.fixture(scope="module")
def whole_export(left_alone: dict[str, Any], memory: Path) -> Path:
    output = memory / "whole.gguf"
    command = run(["export", NAME, "--studies", memory / "left_alone", "--as", "gguf", "-o", output], memory / "log")
    assert command.process.exitcode == 0, command.output
    return output


def killed_again_and_again(
    config: Path, place: Path, faults: list[Fault], database: str | None = None
) -> dict[str, Any]:
    """One study through all the faults, one after another, and then to its end."""
    options = ["search", config, "--studies", place, *([] if database is None else ["--database", database])]
    for fault in faults:
        command = run(options, place / f"{fault}.log", fault)
        assert command.process.exitcode == KILLED, f"{fault}: {command.output}"
    command = run(options, place / "last.log")
    assert command.process.exitcode == 0, command.output
    assert half_written(place) == []
    return end_state(database or place)


def test_killed_once_in_most_stages(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    faults = [STAGES[stage][-1] for stage in ("quantize", "evaluate", "commit", "tell")]
    assert killed_again_and_again(config, place, faults) == left_alone


@pytest.mark.parametrize("fault", EXPORT, ids=str)
def test_a_killed_export_is_whole_or_not_there(
    left_alone: dict[str, Any], whole_export: Path, memory: Path, place: Path, fault: Fault
) -> None:
    output = place / "winner.gguf"
    export = ["export", NAME, "--studies", memory / "left_alone", "--as", "gguf", "-o", output]
    command = run(export, place / "killed.log", fault)
    assert command.process.exitcode == KILLED, command.output
    assert not output.exists()
    assert run(export, place / "last.log").process.exitcode == 0
    assert digest(output) == digest(whole_export)
    assert output.stat().st_size == left_alone["report"]["best"]["size_bytes"]
    assert half_written(place) == []


@pytest.mark.long
def test_killed_at_every_point_of_every_stage(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    faults = [fault for faults in STAGES.values() for fault in faults]
    assert killed_again_and_again(config, place, faults) == left_alone


@pytest.mark.long
def test_killed_at_every_point_of_every_stage_on_postgresql(
    config: Path, left_alone: dict[str, Any], place: Path
) -> None:
    faults = [fault for faults in STAGES.values() for fault in faults]
    with private_server() as server:
        assert killed_again_and_again(config, place, faults, server.new_database()) == left_alone


@pytest.mark.long
@pytest.mark.parametrize("postgresql", [False, True])
def test_killed_at_statements_of_chance(
    config: Path, left_alone: dict[str, Any], place: Path, postgresql: bool
) -> None:
    """Between any two statements that a database is given, the seed of chance being fixed."""
    chance = Random(7)
    faults = [Fault(STATEMENT, chance.randrange(30, 110), after=chance.random() < 0.5) for _ in range(6)]
    if not postgresql:
        assert killed_again_and_again(config, place, faults) == left_alone
        return
    with private_server() as server:
        assert killed_again_and_again(config, place, faults, server.new_database()) == left_alone
