"""`layerquant worker`: this machine's evaluators, at the service of a Dask scheduler."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands.options import Bank, Studies, TlsCa, TlsCert, TlsKey
from optimizer.commands.shown import err
from optimizer.errors import ConfigError
from optimizer.workplace import DEFAULT_STUDIES


def worker(
    scheduler: Annotated[str, typer.Option(help="Address of the scheduler, tcp://HOST:8786 or tls://HOST:8786.")],
    gpus: Annotated[str | None, typer.Option(help="One evaluator for each of these GPUs: 0,1")] = None,
    evaluators: Annotated[
        int, typer.Option("--evaluators", min=0, help="Evaluators on the CPU, where no GPU is named.")
    ] = 1,
    quantize: Annotated[
        int, typer.Option("--quantize", min=0, help="Processes that fill the shard bank ahead of the evaluators.")
    ] = 0,
    models: Annotated[
        list[Path] | None, typer.Option("--models", help="Folder to find models in, by their fingerprint; repeatable.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("-t", "--threads", min=1, help="Threads an evaluator; by default the cores' share."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the workers; by default the host's.")] = None,
    studies: Studies = DEFAULT_STUDIES,
    bank: Bank = None,
    bank_gib: Annotated[float | None, typer.Option("--bank-gib", min=0.0, help="Cap of the shard bank in GiB.")] = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Evaluate for searches with --cluster, until it is interrupted. Shards and reference logits are made and kept in
    --studies and --bank, on this machine or on a folder that several share.
    """
    from optimizer.execution.node_settings import NodeSettings
    from optimizer.execution.tls import Certificates

    certificates = Certificates.of(scheduler, tls_ca, tls_cert, tls_key)
    folders = tuple(str(folder.resolve()) for folder in models or [])
    for folder in folders:
        if not Path(folder).is_dir():
            raise ConfigError(f"--models {folder}: no such folder; name the folder that your GGUFs lie in")
    chosen = [part.strip() for part in (gpus or "").split(",") if part.strip()]
    if not chosen and not evaluators and not quantize:
        raise ConfigError("nothing to do: give --gpus, --evaluators or --quantize")
    from optimizer.execution.worker import posts_of, run_worker  # Dask takes its time

    node = NodeSettings(str(studies.resolve()), str((bank or studies / "bank").resolve()), folders, threads, bank_gib)
    posts = posts_of(chosen, evaluators, quantize)
    run_worker(scheduler, posts, node, certificates, lambda line: err().print(line, soft_wrap=True), name)
