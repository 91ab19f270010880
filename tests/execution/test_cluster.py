"""A real Dask scheduler and real worker processes, on fake evaluators; what is lost and what is refused."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from optimizer.errors import ConfigError
from optimizer.execution.opening import open_scorer
from optimizer.execution.tls import Certificates
from optimizer.search.at_work import AtWork
from optimizer.search.runner import Outcome, run_search
from optimizer.settings import ExecutionSettings
from tests.execution.clusters import Cluster, make_certificates, wait_for
from tests.execution.hosts import separate_hosts
from tests.execution.searches import WorkersSearch

ROUNDS: dict[str, Any] = {"trials": 14, "execution__round": 2}


class ClusterSearch(WorkersSearch):
    def run_on_cluster(self, cluster: Cluster, interrupted: list[bool] | None = None) -> Outcome:
        tls = dict(zip(("tls_ca", "tls_cert", "tls_key"), cluster.tls, strict=True)) if cluster.tls else {}
        settings = ExecutionSettings(cluster=cluster.address, **tls)
        return run_search(
            self.plan, self.workplace, self.reporter, interrupted or [False], name=self.name,
            open_scorer=open_scorer(settings),
        )  # fmt: skip

    def evaluations(self) -> int:
        """Tokens evaluated so far; 0 before there is a study."""
        with self.workplace.open_store() as store:
            study = store.find_study(self.name)
            return 0 if study is None else study.tokens_evaluated

    def at_work(self) -> AtWork | None:
        """As `layerquant status` would find it now."""
        with self.workplace.open_store() as store:
            study = store.find_study(self.name)
            return None if study is None else AtWork.of(study.progress)

    def during(self, happens: Callable[[], None], cluster: Cluster) -> Outcome:
        """The search, with something that happens once it has evaluated a little."""

        def wait() -> None:
            wait_for(lambda: self.evaluations() > 15 * 8 * 64)
            happens()

        beside = threading.Thread(target=wait)
        beside.start()
        try:
            return self.run_on_cluster(cluster)
        finally:
            beside.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    made.start_scheduler()
    yield made
    made.end()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The trials of the same search, one after the other in one process."""
    folder = tmp_path_factory.mktemp("alone")
    search = WorkersSearch(folder, folder / "bank", **ROUNDS)
    search.run()
    return search.trials()


def worker_processes(machine: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return [
        each for each in psutil.Process(machine.pid).children(recursive=True) if "spawn_main" in str(each.cmdline())
    ]


@pytest.mark.long
def test_a_cluster_makes_the_trials_of_one_process_also_when_a_worker_is_killed(
    tmp_path: Path, cluster: Cluster, alone: list[tuple[Any, ...]]
) -> None:
    first = cluster.start_worker("first", quantizers=1)
    cluster.start_worker("second")
    search = ClusterSearch(tmp_path, tmp_path / "bank", **ROUNDS)

    def is_noticed() -> bool:
        return any("its work is given to another" in line for line in search.reporter.lines)

    def kill() -> None:
        """Again where it had nothing to do just then."""
        for _ in range(10):
            for process in worker_processes(first):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            with suppress(AssertionError):
                wait_for(is_noticed, seconds=5)
                return

    assert search.during(kill, cluster).finished
    assert search.trials() == alone
    assert is_noticed()


@pytest.mark.long
def test_a_search_waits_for_its_scheduler_and_goes_on(
    tmp_path: Path, cluster: Cluster, alone: list[tuple[Any, ...]]
) -> None:
    cluster.start_worker("first", evaluators=2)
    search = ClusterSearch(tmp_path, tmp_path / "bank", **ROUNDS)

    def restart() -> None:
        os.killpg(cluster.scheduler.pid, signal.SIGKILL)
        cluster.scheduler.wait()
        wait_for(lambda: any("nothing is lost" in line for line in search.reporter.lines))
        cluster.start_scheduler()

    assert search.during(restart, cluster).finished
    assert search.trials() == alone
    assert "the scheduler is back" in search.reporter.lines


@pytest.mark.long
def test_a_model_is_found_by_its_fingerprint_and_another_build_is_left_out(
    tmp_path: Path, cluster: Cluster, alone: list[tuple[Any, ...]]
) -> None:
    search = ClusterSearch(tmp_path, tmp_path / "bank", **ROUNDS)
    assert search.plan.model.fingerprint
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "tiny.gguf").rename(folder / "other-name.gguf")
    for name in ("first", "second"):
        cluster.start_worker(name, models=str(folder))
    cluster.start_worker("third", evaluator="tests.execution.searches:SlowOtherBuild", models=str(folder))
    cluster.start_worker("fourth")
    wait_for(lambda: all("works for" in cluster.log(name) for name in ("first", "second", "third", "fourth")))
    assert search.run_on_cluster(cluster).finished
    assert search.trials() == alone
    said = " ".join(search.reporter.lines)
    assert said.count("its engine is another (fake 2") == 1
    assert said.count("start the worker with --models") == 1


@pytest.mark.long
def test_machines_are_separate_hosts(tmp_path: Path, alone: list[tuple[Any, ...]]) -> None:
    """In network namespaces where this system lets us make them, else on loopback; the output says which."""
    with separate_hosts(["first", "second"]) as hosts:
        print(f"machines: {hosts.kind}")
        cluster = Cluster(tmp_path, prefixes=hosts.prefixes, host=hosts.here)
        try:
            cluster.start_scheduler()
            cluster.start_worker("first")
            second = cluster.start_worker("second")
            wait_for(lambda: all("works for" in cluster.log(name) for name in ("first", "second")))
            search = ClusterSearch(tmp_path, tmp_path / "bank", **ROUNDS)
            machines = 2 if hosts.prefixes else 1

            def cut() -> None:
                """The second machine is gone from the network, and nobody says good-bye."""
                wait_for(lambda: search.at_work() == AtWork(2, machines))
                if not hosts.cut("second"):
                    os.killpg(second.pid, signal.SIGKILL)

            assert search.during(cut, cluster).finished
            assert search.at_work() == AtWork(1, 1)
            assert search.trials() == alone
        finally:
            cluster.end()


@pytest.mark.long
def test_with_certificates_and_none_without(tmp_path: Path, alone: list[tuple[Any, ...]]) -> None:
    cluster = Cluster(tmp_path, make_certificates(tmp_path))
    try:
        assert cluster.start_scheduler().startswith("tls://")
        cluster.start_worker("first")
        search = ClusterSearch(tmp_path, tmp_path / "bank", **ROUNDS)
        assert search.run_on_cluster(cluster).finished
        assert search.trials() == alone
    finally:
        cluster.end()


@pytest.mark.parametrize(
    ("address", "files", "said"),
    [
        ("tls://127.0.0.1:1", {}, "--tls-ca, --tls-cert, --tls-key is missing"),
        ("tcp://127.0.0.1:1", {"ca": "a"}, "not encrypted"),
        ("127.0.0.1:1", {}, "has the form tcp://HOST"),
        ("tls://127.0.0.1:1", {"ca": "/no/a", "cert": "/no/b", "key": "/no/c"}, "no such file"),
    ],
)
def test_addresses_and_certificates_must_fit_together(address: str, files: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Certificates.of(address, files.get("ca"), files.get("cert"), files.get("key"))
