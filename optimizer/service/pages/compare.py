"""`/studies/STUDY/compare?trial=…`: two to six trials or presets side by side, and where their layers differ."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request, Response

from optimizer.export.layer_map import LayerMap
from optimizer.export.report_figure import Figure, type_map
from optimizer.search.racing import PairedDifference
from optimizer.search.racing import compare as paired_difference
from optimizer.service.context import Here
from optimizer.service.pages.rendering import page_router, render
from optimizer.service.pages.study_data import label_of, map_of
from optimizer.service.pages.trial_data import TextScore, scores_of
from optimizer.service.problems import NotFound
from optimizer.service.summaries import kind_of
from optimizer.store import TrialRecord

MOST = 6

router = page_router()


@dataclass(frozen=True)
class Column:
    """One trial. `against`: text -> its KLD minus the first one's, on the chunks that both were scored on."""

    trial: TrialRecord
    label: str
    kind: str
    scores: dict[str, TextScore]
    against: dict[str, PairedDifference]
    layers: LayerMap


@router.get("/studies/{study}/compare")
def show(request: Request, study: str, here: Here, trial: Annotated[list[int] | None, Query()] = None) -> Response:
    record = here.study(study)
    wanted = list(dict.fromkeys(trial or ()))[:MOST]
    trials = {each.number: each for each in here.store.trials(record.id)}
    for number in wanted:
        if number not in trials:
            raise NotFound(f"study {study} has no trial {number}")
    columns: list[Column] = []
    for number in wanted:
        each = trials[number]
        scores = {score.text: score for score in scores_of(here, record, each)}
        first = columns[0].scores if columns else {}
        against = {
            text: paired_difference(score.by_chunk, first[text].by_chunk)
            for text, score in scores.items()
            if text in first and len(score.by_chunk.keys() & first[text].by_chunk.keys()) > 1
        }
        columns.append(Column(each, label_of(each), kind_of(each), scores, against, map_of(here, each)))
    figures: dict[str, Figure] = {}
    for column in columns:
        if column.layers.roles:
            figures[f"map-{column.trial.number}"] = type_map(column.layers)
    for column in columns[1:]:
        figures[f"difference-{column.trial.number}"] = difference_map(columns[0].layers, column.layers)
    return render(
        request, "compare.html.j2", study=study, columns=columns, most=MOST, charts={"figures": figures},
        trials=[(each.number, label_of(each)) for each in trials.values() if each.state != "running"],
        wanted=wanted,
    )  # fmt: skip


def difference_map(first: LayerMap, other: LayerMap) -> Figure:
    """One cell a tensor of the first: bits per weight that the other gives it more (or, below zero, fewer)."""
    bits = {
        (role, layer): value
        for role, row in zip(other.roles, other.bits, strict=True)
        for layer, value in zip(other.layers, row, strict=True)
    }
    types = {
        (role, layer): kind
        for role, row in zip(other.roles, other.types, strict=True)
        for layer, kind in zip(other.layers, row, strict=True)
    }
    cells: list[list[float | None]] = []
    texts: list[list[str]] = []
    for role, row, kinds in zip(first.roles, first.bits, first.types, strict=True):
        theirs = [bits.get((role, layer)) for layer in first.layers]
        cells.append([None if a is None or b is None else b - a for a, b in zip(row, theirs, strict=True)])
        texts.append(
            [
                f"{mine or 'absent'} → {types.get((role, layer)) or 'absent'}"
                for mine, layer in zip(kinds, first.layers, strict=True)
            ]
        )
    figure = type_map(first)
    largest = max((abs(value) for row in cells for value in row if value is not None), default=0.0) or 1.0
    figure["data"][0] |= {
        "z": cells, "text": texts, "texttemplate": "", "zmin": -largest, "zmax": largest,
        "colorscale": [[0, "#d55e00"], [0.5, "{panel}"], [1, "#0072b2"]],
        "colorbar": {"title": {"text": "bits more"}, "thickness": 12},
    }  # fmt: skip
    return figure
