"""A TCP proxy that fails as networks and servers do: it refuses, cuts, stalls, and loses single questions or answers.

    with Proxy(server.port) as proxy:
        Store.open(server.new_database(port=proxy.port))
        proxy.cut()                      # connections are reset, new ones refused
        proxy.mend()                     # on the same port again
        proxy.stall()                    # connections stay, nothing comes through; new ones are accepted and hang
        proxy.flow()                     # what was held back goes on
        proxy.lose_answer(b"COMMIT")     # the next COMMIT reaches the server, its answer does not come back
        proxy.lose_request(b"COMMIT")    # the next COMMIT does not reach the server

Both `lose_` reset the one connection that they meet; `lost` counts them. It forwards to 127.0.0.1.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)


@dataclass
class _Connection:
    client: socket.socket
    server: socket.socket
    lose_next_answer: bool = False
    tail: bytes = b""
    over: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Closes both sides at once, as a crash does: no orderly end of stream."""
        self.over.set()
        for side in (self.client, self.server):
            with suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with suppress(OSError):
                side.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it, which would keep it open
            with suppress(OSError):
                side.close()


class Proxy:
    """Forwards `port` to `target_port` from its making on. Safe to be told anything from any thread."""

    def __init__(self, target_port: int, *, then: Callable[["Proxy"], None] | None = None) -> None:
        """`then`: called after a question or answer was lost, such as `Proxy.cut`."""
        self.target_port = target_port
        self.lost = 0
        self.then = then
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._answer_marks: list[bytes] = []
        self._request_marks: list[bytes] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._flowing.set()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """The server is away: all connections are reset and new ones are refused."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            listener.close()
        self.cut_connections()

    def cut_connections(self) -> None:
        """Resets what is connected; new connections are taken."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.reset()

    def mend(self) -> None:
        """Listens again, on the same port."""
        with self._lock:
            if self._listener is not None:
                return
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen()
            self.port = int(listener.getsockname()[1])
            self._listener = listener
        self._run(lambda: self._accept(listener))

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def lose_answer(self, mark: bytes) -> None:
        """The next request that contains `mark` is carried out; the connection is reset in place of its answer."""
        with self._lock:
            self._answer_marks.append(mark)

    def lose_request(self, mark: bytes) -> None:
        """The connection is reset before the next request that contains `mark` reaches the server."""
        with self._lock:
            self._request_marks.append(mark)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(client, server)
            with self._lock:
                cut = self._listener is not listener
                if not cut:
                    self._connections.append(connection)
            if cut:
                connection.reset()
                continue
            self._run(partial(self._forward_requests, connection))
            self._run(partial(self._forward_answers, connection))

    def _forward_requests(self, connection: _Connection) -> None:
        with suppress(OSError):
            while piece := connection.client.recv(_PIECE):
                self._flowing.wait()
                seen = connection.tail + piece
                connection.tail = seen[-64:]
                if self._met(self._request_marks, seen):
                    return self._lose(connection)
                connection.lose_next_answer |= self._met(self._answer_marks, seen)
                connection.server.sendall(piece)
        return self._end(connection)

    def _forward_answers(self, connection: _Connection) -> None:
        with suppress(OSError):
            while piece := connection.server.recv(_PIECE):
                self._flowing.wait()
                if connection.lose_next_answer:
                    return self._lose(connection)
                connection.client.sendall(piece)
        return self._end(connection)

    def _met(self, marks: list[bytes], seen: bytes) -> bool:
        with self._lock:
            for mark in marks:
                if mark in seen:
                    marks.remove(mark)
                    return True
        return False

    def _lose(self, connection: _Connection) -> None:
        self._forget(connection)
        connection.reset()
        self.lost += 1
        if self.then is not None:
            self.then(self)

    def _end(self, connection: _Connection) -> None:
        """One side ended in order: so does the other."""
        self._forget(connection)
        if not connection.over.is_set():
            connection.over.set()
            for side in (connection.client, connection.server):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            connection.client.close()
        with suppress(OSError):
            connection.server.close()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
