"""A PostgreSQL server of a test's own, from Debian's package `postgresql`.

    with private_server() as server:
        Store.open(server.new_database())   # a fresh, empty database; its URL carries user and password

`private_server_url()` gives the URL alone. The server listens on a free port of 127.0.0.1 and keeps its files in a
temporary folder. As root it runs as the user `postgres`: PostgreSQL refuses root. Waiting for the disk is off unless
`durable=True`: a test's server need not outlive a power cut, and a timed one must.
"""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

USER = "layerquant"
PASSWORD = "moon/river@7"
"""Needs escaping in a URL, on purpose."""
START_SECONDS = 60.0


def programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian does not put on PATH; the newest version's."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise FileNotFoundError("PostgreSQL's server programs are missing: apt-get install postgresql")
    return max(found, key=lambda folder: int(folder.parent.name))


class PrivateServer:
    """A cluster in a temporary folder. `start`, `stop` and `kill` may be called again and again; the port stays."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, password_file):
                shutil.chown(path, "postgres", "postgres")
        options = ["--auth", "scram-sha-256", "--username", USER, "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        self._run("initdb", "--pgdata", self.data, "--pwfile", password_file, *options)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def url(self, database: str = "postgres", *, port: int | None = None, password: str | None = PASSWORD) -> str:
        """For `--database`. `port`: of a proxy in front of the server."""
        secret = "" if password is None else ":" + password.replace("/", "%2F").replace("@", "%40")
        return f"postgresql://{USER}{secret}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self, *, port: int | None = None) -> str:
        """Makes an empty database and gives its URL."""
        name = f"test_{next(self._numbers)}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name, port=port)

    def execute(self, statement: str | sql.Composed, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs one statement past all proxies, outside any transaction; its rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]  # psycopg wants a literal
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}  # a commit still outlives a killed server
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", self.data, "-p", str(self.port), *arguments),
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is for the tests
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Breaks off all connections and shuts down in order, as `systemctl stop postgresql` does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a power cut of the server's host: nothing is written any more. The next start recovers."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while any(_lives(child) for child in children):  # they hold the shared memory that the next start asks for
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL's processes outlive SIGKILL")
            time.sleep(0.01)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait(START_SECONDS)
        self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if not self.running or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}") from None
                time.sleep(0.05)

    def _run(self, program: str, *arguments: str | Path) -> None:
        ended = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, cwd="/", check=False)
        if ended.returncode:
            raise RuntimeError(f"{program} failed:\n{ended.stdout}{ended.stderr}")

    @staticmethod
    def _command(program: str, *arguments: str | Path) -> Sequence[str]:
        command = [str(programs() / program), *map(str, arguments)]
        if os.geteuid() != 0:
            return command
        user = pwd.getpwnam("postgres")
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]


@contextmanager
def private_server(*, durable: bool = False) -> Iterator[PrivateServer]:
    """A running server that is gone, with its files, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="layerquant-postgresql-"))  # not tmp_path, which only its owner may enter
    try:
        server = PrivateServer(folder, durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def private_server_url() -> Iterator[str]:
    """The URL of an empty database on a server of its own."""
    with private_server() as server:
        yield server.new_database()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
