"""`layerquant serve`: the REST API and the pages, until it is interrupted."""

import os
from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands.options import Bank, Cluster, Database, Studies, TlsCa, TlsCert, TlsKey
from optimizer.commands.shown import err
from optimizer.errors import ConfigError
from optimizer.service.notices import KINDS
from optimizer.service.notifier import NotifySettings
from optimizer.service.settings import DEFAULT_HOST, DEFAULT_PORT, ServiceSettings, read_token
from optimizer.settings import ExecutionSettings
from optimizer.workplace import DEFAULT_STUDIES, Workplace

TOKEN_VARIABLE = "LAYERQUANT_TOKEN"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; other than this machine's own needs a token.")] = (
        DEFAULT_HOST
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = DEFAULT_PORT,
    models: Annotated[
        list[Path] | None, typer.Option("--models", help="Folder whose models and texts may be named; repeatable.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"File that holds the token; or ${TOKEN_VARIABLE}.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Further host name that the service is asked by; repeatable.")
    ] = None,
    running: Annotated[int, typer.Option("--running", min=1, help="Searches at a time; others queue.")] = 1,
    notify_command: Annotated[
        str | None, typer.Option("--notify-command", help="Command that gets each notification as JSON.")
    ] = None,
    notify_on: Annotated[
        str | None, typer.Option("--notify-on", help=f"{', '.join(KINDS)}; by default the first two.")
    ] = None,
    optuna_dashboard: Annotated[
        str | None, typer.Option("--optuna-dashboard", help="Its address, for links from the studies' pages.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", help="Address of an MLflow server, for links from the studies' pages.")
    ] = None,
    cluster: Cluster = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
) -> None:
    """Answer at an address: launch, watch and stop searches, compare what they found, take the winner home."""
    from optimizer.service.app import make_app  # and below: for this command alone
    from optimizer.service.elsewhere import checked_address
    from optimizer.service.server import run_server

    token = read_token(token_file) if token_file is not None else os.environ.get(TOKEN_VARIABLE)
    folders = tuple(folder.resolve() for folder in models or [])
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--models {folder}: no such folder; name the folder that your GGUFs lie in")
    settings = ServiceSettings(
        Workplace(studies, database, bank),
        folders,
        host,
        port,
        token,
        running,
        tuple(name or []),
        notify=NotifySettings.of(os.environ, notify_command, notify_on),
        execution=ExecutionSettings(cluster=cluster, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key),
        optuna_dashboard=optuna_dashboard and checked_address(optuna_dashboard, "--optuna-dashboard"),
        mlflow=mlflow and checked_address(mlflow, "--mlflow"),
    )
    shown = f"[{host}]" if ":" in host else host
    err().print(f"layerquant answers at http://{shown}:{port}", soft_wrap=True)
    run_server(make_app(settings), settings)
