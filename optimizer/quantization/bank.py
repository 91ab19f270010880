"""The shard bank: every quantized tensor is made once, kept on disk, and used by all candidates of all studies.

Safe for several threads and processes: a shard is made under a claim (`storage.claimed`), appears whole or not at all,
and stays while a lease names it (`leases`). What is found damaged is made again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import StorageError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.write import Chunk
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.leases import Lease, guard, leased
from optimizer.quantization.listing import list_shards
from optimizer.quantization.parts import copy_parts
from optimizer.quantization.requests import ShardRequest, shard_request
from optimizer.quantization.rows import WORKING_MEMORY_BYTES, RowQuantizer
from optimizer.quantization.shard import ShardDamage, check_data, open_shard, write_shard
from optimizer.quantization.storage import claimed, readable_size, remove_abandoned, require_space

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (done, total) in a unit that the caller's docstring names."""

_MAKERS = 2  # shards in the making at a time: one's rows fill the threads while the other's file is synced
_SCAN_EVERY = 64


@dataclass(frozen=True, slots=True)
class BankStats:
    """What lies in the bank, and what this process did with it."""

    shards: int
    bytes: int
    made: int
    reused: int
    evicted: int


class ShardBank:
    """A folder of shards.

    Args:
        root: created when it is not there.
        cap_bytes: size at which the least recently used shards are evicted; None keeps all.
        threads: None = one for each core.
        allow_requantize: accept source tensors that are quantized already.
        working_memory: bytes that quantization may hold in buffers, whatever the size of a tensor.
    """

    def __init__(
        self,
        root: Path,
        *,
        cap_bytes: int | None = None,
        threads: int | None = None,
        allow_requantize: bool = False,
        working_memory: int = WORKING_MEMORY_BYTES,
    ) -> None:
        self.root = root
        self.cap_bytes = cap_bytes
        self.allow_requantize = allow_requantize
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{root}: no folder for shards can be made there: {error.strerror}; choose another"
            ) from error
        remove_abandoned(root)
        with guard(root):
            leased(root)  # forgets those of dead processes
        self.quantizer = RowQuantizer(threads, working_memory // _MAKERS)
        self._makers = ThreadPoolExecutor(max(_MAKERS, self.quantizer.threads), thread_name_prefix="shard")
        self._making = threading.BoundedSemaphore(_MAKERS)
        self._checked: dict[Path, tuple[int, int, int]] = {}
        self._check_locks = [threading.Lock() for _ in range(64)]
        self._made = self._reused = self._evicted = 0
        self._bytes_estimate: int | None = None
        self._since_scan = 0

    def close(self) -> None:
        self._makers.shutdown(cancel_futures=True)
        self.quantizer.close()

    def __enter__(self) -> "ShardBank":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def shard(
        self, model: ModelFile, tensor: TensorInfo, tensor_type: str, position: int, imatrix: Imatrix | None = None
    ) -> Path:
        """The shard of one tensor, made if it is missing. `position` is its number among the files of a split
        candidate.
        """
        request = shard_request(
            self.root, model, tensor, tensor_type, position, imatrix, allow_requantize=self.allow_requantize
        )
        return self.ensure(request)

    def ensure(self, request: ShardRequest, lease: Lease | None = None, stop: Callable[[], bool] | None = None) -> Path:
        """Make a shard unless it is there and whole; with a lease, it stays for as long as the lease lives."""
        if lease is None:
            with Lease(self.root) as own:
                return self.ensure(request, own, stop)
        lease.add([request.path])
        if self._usable(request):
            self._reused += 1
        else:
            self._make(request, stop)
        return request.path

    def ensure_all(
        self,
        requests: Sequence[ShardRequest],
        lease: Lease,
        *,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Have all these shards made and leased; `progress` counts them. The first failure ends it, with its error."""
        there = lease.add([request.path for request in requests])
        waiting = [request for request in requests if request.path not in there or not self._known(request)]
        done = len(requests) - len(waiting)
        self._reused += done
        if progress is not None:
            progress(done, len(requests))
        failed = threading.Event()
        ends = lambda: failed.is_set() or (stop is not None and stop())  # noqa: E731
        futures = [self._makers.submit(self.ensure, request, lease, ends) for request in waiting]
        try:
            while futures:
                finished, unfinished = wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                futures = list(unfinished)
                if progress is not None and finished:
                    done += len(finished)
                    progress(done, len(requests))
        finally:
            failed.set()
            for future in futures:
                future.cancel()
            wait(futures)

    def missing(self, requests: Iterable[ShardRequest]) -> list[ShardRequest]:
        """Those of the requests whose file is not there, parts of mixes included."""
        wanted = {one.path: one for request in requests for one in (*request.parts, request)}
        return [request for path, request in wanted.items() if not os.path.exists(path)]

    def reserve(self, requests: Sequence[ShardRequest]) -> list[ShardRequest]:
        """What is missing. StorageError when that would not fit the disk, or the candidate not under the cap. Before
        any work starts.
        """
        lacking = self.missing(requests)
        copied = self.missing([part for request in lacking for part in request.parts])
        sizes = [request.n_bytes for request in (*lacking, *copied)]
        if not sizes:
            return lacking
        growth = sum(sizes)
        if self.cap_bytes is not None:
            whole = sum(request.n_bytes for request in requests)
            if whole > self.cap_bytes:
                raise StorageError(
                    f"one candidate takes {readable_size(whole)} of shards, the bank in {self.root} may hold "
                    f"{readable_size(self.cap_bytes)}; raise its cap"
                )
            used = sum(shard.n_bytes for shard in list_shards(self.root))
            growth = min(growth, max(0, self.cap_bytes - used) + _MAKERS * max(sizes))
        require_space(self.root, growth, f"{len(sizes)} shards")
        return lacking

    def evict(self, limit: int) -> int:
        """Remove shards, least recently used first, until at most `limit` bytes are left; what a lease names stays.

        Returns:
            Bytes freed.
        """
        freed = 0
        with guard(self.root):
            shards = sorted(list_shards(self.root), key=lambda shard: shard.last_use)
            total = sum(shard.n_bytes for shard in shards)
            keep = leased(self.root) if total > limit else set()
            for shard in shards:
                if total - freed <= limit:
                    break
                if shard.path in keep:
                    continue
                shard.path.unlink(missing_ok=True)
                self._checked.pop(shard.path, None)
                self._evicted += 1
                freed += shard.n_bytes
            self._bytes_estimate, self._since_scan = total - freed, 0
        return freed

    def stats(self) -> BankStats:
        shards = list(list_shards(self.root))
        return BankStats(len(shards), sum(shard.n_bytes for shard in shards), self._made, self._reused, self._evicted)

    def _known(self, request: ShardRequest) -> bool:
        """Whether this process has already checked the very file that is there; notes that it is used."""
        try:
            found = os.stat(request.path)
            if self._checked.get(request.path) != _identity(found):
                return False
            os.utime(request.path, ns=(time.time_ns(), found.st_mtime_ns))
        except FileNotFoundError:
            return False
        except PermissionError:  # a bank that somebody else owns: read it, and leave its bookkeeping to them
            pass
        return True

    def _usable(self, request: ShardRequest) -> bool:
        """Whether the shard is there and whole. Its data is read once in the life of a process; a damaged one is
        removed.
        """
        path = request.path
        with self._check_locks[hash(path) % len(self._check_locks)]:
            if self._known(request):
                return True
            try:
                found = os.stat(path)
            except FileNotFoundError:
                return False
            try:
                check_data(open_shard(path, request.position, request.tensors))
            except (ShardDamage, OSError) as damage:
                if isinstance(damage, FileNotFoundError) or not path.exists():
                    return False
                log.warning("shard %s is damaged (%s); it is made again", path, damage)
                if _identity(os.stat(path)) == _identity(found):
                    path.unlink(missing_ok=True)
                return False
            self._checked[path] = _identity(found)
            return self._known(request)

    def _make(self, request: ShardRequest, stop: Callable[[], bool] | None) -> None:
        with Lease(self.root) as parts:
            for part in request.parts:
                self.ensure(part, parts, stop)
            with self._making, claimed(request.path) as file:
                if file is None:  # another thread or process made it meanwhile
                    return
                chunks = copy_parts(request) if request.parts else self._quantize(request, stop)
                write_shard(file, request.pairs, request.tensors, chunks)
        self._checked[request.path] = _identity(os.stat(request.path))
        self._made += 1
        self._evict_over_cap(request.n_bytes)

    def _quantize(self, request: ShardRequest, stop: Callable[[], bool] | None) -> Iterator[tuple[int, Chunk]]:
        for slab in self.quantizer.slabs(request.jobs, stop):
            yield slab.job, slab.data.data

    def _evict_over_cap(self, added: int) -> None:
        if self.cap_bytes is None:
            return
        self._since_scan += 1
        if self._bytes_estimate is not None:
            self._bytes_estimate += added
        if self._bytes_estimate is None or self._bytes_estimate > self.cap_bytes or self._since_scan > _SCAN_EVERY:
            self.evict(self.cap_bytes)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns
