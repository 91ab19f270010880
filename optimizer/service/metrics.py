"""`/metrics` in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from optimizer.service.context import Here

router = APIRouter(tags=["service"])
STATES = ("created", "queued", "starting", "running", "paused", "finished", "failed")
Sample = tuple[Mapping[str, str], float]


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(here: Here) -> PlainTextResponse:
    """Studies, trials, tokens, the best KLD, and the queue."""
    return PlainTextResponse(
        metrics_text(here.views(), [job.state for job in here.supervisor.jobs()]),
        media_type="text/plain; version=0.0.4",
    )


def metrics_text(views: Iterable[Mapping[str, Any]], jobs: Iterable[str]) -> str:
    shown, states = list(views), list(jobs)
    each = [({"study": str(view["study"])}, view) for view in shown]
    families: list[tuple[str, str, str, list[Sample]]] = [
        ("studies", "gauge", "Studies by state.",
         [({"state": state}, sum(view["state"] == state for view in shown)) for state in STATES]),
        ("jobs", "gauge", "Jobs of the service by state.",
         [({"state": state}, states.count(state)) for state in ("queued", "running", "ended")]),
        ("trials_total", "counter", "Trials of a study by state.",
         [(name | {"state": state}, n) for name, view in each for state, n in view["trials"].items()]),
        ("tokens_evaluated_total", "counter", "Tokens that a study has evaluated.",
         [(name, view["tokens_evaluated"]) for name, view in each]),
        ("best_mean_kld", "gauge", "Nats per token of a study's best trial, on search text.",
         [(name, view["best"]["mean_kld"]) for name, view in each if view["best"]]),
        ("best_size_bytes", "gauge", "Bytes of a study's best trial.",
         [(name, view["best"]["size_bytes"]) for name, view in each if view["best"]]),
        ("eta_seconds", "gauge", "Seconds that a study has left, as it expects.",
         [(name, view["eta_seconds"]) for name, view in each if view["eta_seconds"] is not None]),
    ]  # fmt: skip
    lines = []
    for name, kind, what, samples in families:
        lines += [f"# HELP layerquant_{name} {what}", f"# TYPE layerquant_{name} {kind}"]
        lines += [f"layerquant_{name}{{{_labels(labels)}}} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return ",".join(f'{name}="{quoted(value)}"' for name, value in labels.items())
