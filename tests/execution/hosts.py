"""Machines for tests: network namespaces, each with a wire to this one; loopback where those are not allowed."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Hosts:
    """here: this machine's address for all of them. prefixes: machine -> words before a command that runs there."""

    kind: str
    here: str
    prefixes: dict[str, Sequence[str]] = field(default_factory=dict)
    wires: dict[str, str] = field(default_factory=dict)

    def cut(self, name: str) -> bool:
        """Pull the wire; False where there is none."""
        if name not in self.wires:
            return False
        _ip("link", "set", self.wires[name], "down")
        return True


@contextmanager
def separate_hosts(names: Sequence[str]) -> Iterator[Hosts]:
    """All wires end in one bridge, whose address is `here`."""
    mark = f"lq{os.getpid() % 100000}"
    if not _possible(mark):
        yield Hosts("loopback", "127.0.0.1")
        return
    hosts = Hosts("network namespaces", "10.231.7.1")
    try:
        _ip("link", "add", f"{mark}b", "type", "bridge")
        _ip("addr", "add", f"{hosts.here}/24", "dev", f"{mark}b")
        _ip("link", "set", f"{mark}b", "up")
        for number, name in enumerate(names):
            space, wire, end = f"{mark}-{number}", f"{mark}w{number}", f"{mark}e{number}"
            _ip("netns", "add", space)
            _ip("link", "add", wire, "type", "veth", "peer", "name", end, "netns", space)
            _ip("link", "set", wire, "master", f"{mark}b", "up")
            _ip("-n", space, "addr", "add", f"10.231.7.{number + 2}/24", "dev", end)
            _ip("-n", space, "link", "set", end, "up")
            _ip("-n", space, "link", "set", "lo", "up")
            hosts.prefixes[name] = ("ip", "netns", "exec", space)
            hosts.wires[name] = wire
        yield hosts
    finally:
        for number in range(len(names)):
            subprocess.run(["ip", "netns", "del", f"{mark}-{number}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{mark}b"], capture_output=True, check=False)


def _possible(mark: str) -> bool:
    """Whether this system lets us make a namespace, a bridge and a wire between both."""
    trial = [
        ["netns", "add", f"{mark}-t"],
        ["link", "add", f"{mark}tb", "type", "bridge"],
        ["link", "add", f"{mark}tw", "type", "veth", "peer", "name", f"{mark}te", "netns", f"{mark}-t"],
    ]
    try:
        return all(subprocess.run(["ip", *each], capture_output=True, check=False).returncode == 0 for each in trial)
    except FileNotFoundError:
        return False
    finally:
        for each in (["netns", "del", f"{mark}-t"], ["link", "del", f"{mark}tb"]):
            with suppress(FileNotFoundError):
                subprocess.run(["ip", *each], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
