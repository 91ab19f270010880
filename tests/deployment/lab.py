"""docker-compose.yml without containers: its commands, environments and health checks as they stand, run on loopback.

Only places are exchanged: a service's name and port for 127.0.0.1 and a free port, a mount for a temporary folder,
PostgreSQL's image for Debian's package (`tests/postgres.py`), whose new databases are made by the image's own script.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg

from tests.deployment.compose import ROOT, filled_example, read_compose
from tests.postgres import USER, PrivateServer, free_port, programs

_PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / "docker"), str(programs()), os.defpath])
_HEALTH_SECONDS = 300
_END_SECONDS = 40


class Lab:
    """The services of the file; `start` one, with `stop` or the end of the block they are gone."""

    def __init__(self, folder: Path, postgres: PrivateServer, *, several_machines: bool = False) -> None:
        self.folder = folder
        self.models, self.certificates = folder / "models", folder / "certificates"
        self.models.mkdir()
        self.variables = filled_example(self.models, self.certificates)
        self._services: dict[str, Any] = read_compose(self.variables, several_machines=several_machines)["services"]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = {(name, port): free_port() for name in self._services for port in self._own_ports(name)}
        self._postgres = postgres
        self._ports["postgres", 5432] = postgres.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)

    def port(self, name: str, port: int) -> int:
        return self._ports[name, port]

    def move(self, name: str, port: int, to: int) -> None:
        """From now on others find a service at another port, such as a proxy's; the service itself stays."""
        self._ports[name, port] = to

    def start(self, name: str) -> None:
        """Starts a service once those that it waits for are healthy, and waits until it is healthy itself."""
        for needed, how in self._services[name].get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert self.is_healthy(needed), f"{name} waits for {needed}"
        if name == "postgres":
            make_databases(self._postgres, self.environment(name))
        else:
            with self.log(name).open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    self.words(name, self._services[name]["command"]),
                    env=self.environment(name), cwd=self._fresh("cwd", name), stdout=log, stderr=log,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
        until = time.monotonic() + _HEALTH_SECONDS
        while not self.is_healthy(name):
            assert self.is_running(name), f"{name} ended:\n{self.log(name).read_text()}"
            assert time.monotonic() < until, f"{name} never became healthy:\n{self.log(name).read_text()}"
            time.sleep(0.5)

    def is_running(self, name: str) -> bool:
        return self._postgres.running if name == "postgres" else self._processes[name].poll() is None

    def is_healthy(self, name: str) -> bool:
        kind, *words = self._services[name]["healthcheck"]["test"]
        command = words if kind == "CMD" else ["/bin/sh", "-c", *words]
        ended = subprocess.run(self.words(name, command), env=self.environment(name), capture_output=True, check=False)
        return ended.returncode == 0

    def stop(self, name: str) -> int:
        """As `docker compose stop`: SIGTERM; the exit code."""
        process = self._processes.pop(name)
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(_END_SECONDS)
        finally:
            kill_session(process.pid)  # as the end of a container ends all that is left in it

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL has for one of the two users, who have databases of their names."""
        password = self.variables[f"{database.upper()}_DB_PASSWORD"]
        port = self._postgres.port
        address = f"host=127.0.0.1 port={port} user={database} password={password} dbname={database}"
        with psycopg.connect(address) as connection:
            return connection.execute(query.encode()).fetchall()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def working_folder(self, name: str) -> Path:
        return self.folder / f"cwd-{name}"

    def words(self, name: str, words: list[str]) -> list[str]:
        return [self.placed(name, word) for word in words]

    def environment(self, name: str) -> dict[str, str]:
        """The image's, the service's own over it, and programs where they lie here."""
        given = image_environment(self._services[name]) | self._services[name].get("environment", {})
        placed = {key: self.placed(name, value) for key, value in given.items()}
        return placed | {"PATH": _PROGRAMS, "HOSTNAME": os.uname().nodename}

    def placed(self, name: str, text: str) -> str:
        """A text of a service with every place exchanged for the one here."""
        for (other, port), here in self._ports.items():
            text = re.sub(rf"(?<![\w.-]){other}:{port}\b", f"127.0.0.1:{here}", text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        for port in self._own_ports(name):
            text = re.sub(rf"(?<!\d){port}(?!\d)", str(self._ports[name, port]), text)
        folders = self._mounts(name) | {"/tmp": self._fresh("tmp", name)}
        targets = "|".join(map(re.escape, folders))
        return re.sub(rf"(?<![\w/.-])(?:{targets})(?=/|$)", lambda found: str(folders[found[0]]), text)

    def _own_ports(self, name: str) -> list[int]:
        service = self._services[name]
        published = [port.rpartition(":")[2] for port in service.get("ports", [])]
        return [int(port) for port in dict.fromkeys([*published, *service.get("expose", [])])]

    def _mounts(self, name: str) -> dict[str, Path]:
        """Path in the container -> folder here; a named volume is the same folder for all."""
        found = {}
        for mount in self._services[name].get("volumes", []):
            source, target = mount.split(":")[:2]
            found[target] = Path(source) if source.startswith(("/", ".")) else self._fresh("volume", source)
        return found

    def _fresh(self, kind: str, name: str) -> Path:
        folder = self.folder / f"{kind}-{name}"
        folder.mkdir(exist_ok=True)
        return folder


def image_environment(service: dict[str, Any]) -> dict[str, str]:
    """What the final stage's ENV sets in the image of a service of ours."""
    if "build" not in service:
        return {}
    *_, line = re.findall(r"^ENV (.*)$", (ROOT / service["build"]["dockerfile"]).read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for word in line.split())


def make_databases(server: PrivateServer, environment: dict[str, str]) -> None:
    """Runs the image's first-start script as its superuser, whom the private server calls otherwise."""
    password = environment["POSTGRES_PASSWORD"]
    server.execute(f"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{password}'")
    connection = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": password,
        "POSTGRES_USER": "postgres",
    }
    psql = [
        "psql",
        "--quiet",
        "--username=postgres",
        "--dbname=postgres",
        f"--command=ALTER ROLE {USER} RENAME TO tests",
    ]
    for command in (psql, [str(ROOT / "docker" / "postgres" / "databases.sh")]):
        subprocess.run(command, env=environment | connection, check=True, stdout=subprocess.DEVNULL)


def kill_session(leader: int) -> None:
    """Ends what is left of a session that a process began."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
