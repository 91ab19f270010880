"""`layerquant resume`: a study continued by its name."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from optimizer.commands.options import (
    Bank,
    Cluster,
    Database,
    Json,
    OptionalStudy,
    Studies,
    TlsCa,
    TlsCert,
    TlsKey,
    Workers,
    given,
)
from optimizer.commands.search import go_on_detached, run_study
from optimizer.commands.studies import chosen_study, existing_store
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.search.claiming import CONTENTS
from optimizer.workplace import DEFAULT_STUDIES, Workplace

_CERTIFICATES = ("tls_ca", "tls_cert", "tls_key")


def resume(
    study: OptionalStudy = None,
    trials: Annotated[int | None, typer.Option(min=1, help="A larger number continues a finished study.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.0)] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background, with a log file.")] = False,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
    workers: Workers = None,
    cluster: Cluster = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    as_json: Json = False,
) -> None:
    """Continue a study by its name, with the settings it was started with."""
    if detach and as_json:
        raise ConfigError("--json shows how a run ended, and --detach does not wait for that; leave one of them out")
    workplace = Workplace(studies, database, bank)
    with existing_store(workplace) as store:
        record = chosen_study(store, study)
        kept = dict(record.config) | {"study": record.name} | given(trials=trials, hours=hours)
        kept.pop(CONTENTS, None)
    asked = given(workers=workers, cluster=cluster, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
    kept["execution"] = execution_of(kept.get("execution") or {}, asked)
    config = SearchConfig.load(None, kept)
    if detach:
        go_on_detached(workplace, record.name)
        return
    run_study(config, workplace, None, as_json=as_json)


def execution_of(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Where a study goes on: as before, changed by the options that were given.

    `--workers` alone brings a study home from its cluster; a plain address leaves the certificates of an encrypted one.
    """
    left: set[str] = set()
    if "cluster" in asked:
        left = set() if asked["cluster"].startswith("tls://") else {*_CERTIFICATES}
    elif "workers" in asked:
        left = {"cluster", *_CERTIFICATES}
    return {name: value for name, value in kept.items() if name not in left} | dict(asked)
