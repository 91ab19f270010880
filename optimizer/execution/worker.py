"""What `layerquant worker` does: one Dask worker process for each evaluator and each quantizer, kept alive.

A process that dies is started again at once; one that lost its scheduler tries every few seconds until it is back.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dask
import psutil
from distributed import Nanny

from optimizer.execution.affinity import OnCores, cores_near
from optimizer.execution.executor import EVALUATE, QUANTIZE, Role
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.tls import Certificates

AGAIN_SECONDS = 3.0


@dataclass(frozen=True)
class Post:
    """One worker process. gpu: the only one that it sees; None: as this process. cores: it runs on; None: any."""

    role: Role
    number: int
    gpu: str | None = None
    cores: frozenset[int] | None = None


def posts_of(gpus: Sequence[str], evaluators: int, quantizers: int) -> list[Post]:
    """One evaluator a GPU, or so many on the CPU; then the quantizers."""
    evaluate = [Post(EVALUATE, number, gpu) for number, gpu in enumerate(gpus)]
    evaluate = evaluate or [Post(EVALUATE, number) for number in range(evaluators)]
    return evaluate + [Post(QUANTIZE, number) for number in range(quantizers)]


def threads_of(posts: Sequence[Post]) -> int:
    """What each evaluator gets by default: its share of the physical cores, of those near its GPU at most."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    evaluators = [post for post in posts if post.role == EVALUATE]
    share = physical // max(1, len(evaluators))
    for post in evaluators:
        if post.cores is not None:
            beside = sum(other.cores is None or not other.cores.isdisjoint(post.cores) for other in evaluators)
            share = min(share, len(post.cores) * physical // logical // beside)
    return max(1, share)


def run_worker(
    scheduler: str,
    posts: Sequence[Post],
    node: NodeSettings,
    certificates: Certificates | None,
    say: Callable[[str], None],
    name: str | None = None,
) -> None:
    """Until SIGINT or SIGTERM. `name`: what the workers' names begin with; by default the host."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    dask.config.set({"distributed.worker.profile.enabled": False})  # a look at every thread 100 times a second
    posts = [replace(post, cores=cores_near(post.gpu, say)) if post.gpu is not None else post for post in posts]
    if node.threads is None:
        node = replace(node, threads=threads_of(posts))
    asyncio.run(_run(scheduler, posts, node, certificates, say, f"{name or socket.gethostname()}-{os.getpid()}"))


async def _run(
    scheduler: str,
    posts: Sequence[Post],
    node: NodeSettings,
    certificates: Certificates | None,
    say: Callable[[str], None],
    name: str,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.gather(*(_keep(scheduler, post, node, certificates, say, name, stop) for post in posts))


async def _keep(
    scheduler: str,
    post: Post,
    node: NodeSettings,
    certificates: Certificates | None,
    say: Callable[[str], None],
    name: str,
    stop: asyncio.Event,
) -> None:
    attempt, told = 0, False
    stopped = asyncio.create_task(stop.wait())
    while not stop.is_set():
        attempt += 1
        nanny = Nanny(
            scheduler,
            nthreads=1,
            name=f"{name}-{post.role}-{post.number}" + (f"-{attempt}" if attempt > 1 else ""),
            resources={post.role: 1},
            memory_limit=0,  # shards and logits are mapped files: what looks like use is cache
            security=certificates.security() if certificates is not None else None,
            env=_environment(post, node),
            plugins=() if post.cores is None else (OnCores(sorted(post.cores)),),
            local_directory=str(Path(node.folder) / "dask"),
            silence_logs=logging.CRITICAL,
        )
        try:
            starting = asyncio.ensure_future(nanny.start())
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                say(f"{post.role} {post.number}{f' on GPU {post.gpu}' if post.gpu else ''} works for {scheduler}")
                told = False
                ended = asyncio.ensure_future(nanny.finished())
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
            else:
                starting.cancel()
        except Exception as error:  # Dask's own errors, of many kinds: all mean that it is not there now
            if not told:
                say(f"{scheduler} does not answer ({error}); trying again every {AGAIN_SECONDS:.0f} seconds")
                told = True
        finally:
            await nanny.close(reason="layerquant-worker")
        if not stop.is_set():
            await asyncio.wait({stopped}, timeout=AGAIN_SECONDS)
    stopped.cancel()


def _environment(post: Post, node: NodeSettings) -> dict[str, str]:
    if post.gpu is None:
        return node.as_environment()
    order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # CUDA's own default puts the fastest first
    return node.as_environment() | {"CUDA_VISIBLE_DEVICES": post.gpu, "CUDA_DEVICE_ORDER": order}
