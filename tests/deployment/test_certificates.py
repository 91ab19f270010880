"""docker/several-machines.yml at work: only who has the lab's certificates reaches the scheduler."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.execution.cluster import DaskExecutor
from optimizer.execution.executor import QUANTIZE
from optimizer.execution.problems import ClusterAway
from optimizer.execution.tls import Certificates
from tests.deployment.compose import ROOT
from tests.deployment.lab import Lab
from tests.postgres import private_server


def make_certificates(folder: Path) -> "subprocess.CompletedProcess[str]":
    script = ROOT / "docker" / "make-certificates.sh"
    return subprocess.run([script, folder], capture_output=True, text=True, check=False)


def of_folder(folder: Path, address: str) -> Certificates | None:
    return Certificates.of(address, *(folder / f"{name}.pem" for name in ("ca", "cert", "key")))


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Lab]:
    with private_server() as server, Lab(tmp_path, server, several_machines=True) as made:
        assert make_certificates(made.certificates).returncode == 0
        yield made


def test_certificates_are_made_once_and_their_keys_are_closed(tmp_path: Path) -> None:
    assert make_certificates(tmp_path / "tls").returncode == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.pem": 0o644, "cert.pem": 0o644, "ca-key.pem": 0o600, "key.pem": 0o600}
    before = (tmp_path / "tls" / "ca.pem").read_text()
    again = make_certificates(tmp_path / "tls")
    assert (again.returncode, "there already" in again.stderr) == (1, True)
    assert (tmp_path / "tls" / "ca.pem").read_text() == before


@pytest.mark.long
def test_workers_and_searches_need_a_certificate_of_the_lab(encrypted: Lab, tmp_path: Path) -> None:
    encrypted.start("scheduler")
    encrypted.start("quantizer")
    address = f"tls://127.0.0.1:{encrypted.port('scheduler', 8786)}"
    executor = DaskExecutor(address, of_folder(encrypted.certificates, address))
    assert len(executor.workers(QUANTIZE)) == 1
    executor.close()

    stranger = tmp_path / "stranger"
    make_certificates(stranger)
    with pytest.raises(ClusterAway):
        DaskExecutor(address, of_folder(stranger, address))
    with pytest.raises(ClusterAway):
        DaskExecutor(address.replace("tls://", "tcp://"))
