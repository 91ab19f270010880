"""Schemathesis over the description of the API: whatever is sent, no operation fails, and answers are as described.

In-process over a finished study, with a program in place of layerquant that does nothing: no search starts.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from httpx2 import InvalidURL
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from optimizer.config import SearchConfig
from optimizer.named_files import BUNDLED
from optimizer.service.app import make_app
from optimizer.service.jobs import RUNS
from optimizer.service.run_parameters import RUN_COMMANDS
from optimizer.service.settings import ServiceSettings
from optimizer.workplace import Workplace

ALWAYS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OURS = "http://127.0.0.1:8642"
STUDY = "study"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.text(max_size=20) | st.sampled_from(
    (
        "tiny.gguf", "search.txt", "--text=search.txt", "--reference=tiny.gguf", "--recipe=Q4_K_M", "-o", "made.gguf",
        "--text", "../studies/layerquant.db", "/etc/hostname", "--studies=/tmp", "--set=model=/etc/hostname", "--json",
    )
)  # fmt: skip
SCHEMA = schemathesis.openapi.from_dict(make_app(ServiceSettings()).openapi())
OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations()}
LABELS = sorted(OPERATIONS, key=lambda label: (label.startswith("DELETE"), label))
"""Deleting comes last: one service answers all."""


@pytest.fixture(scope="module")
def client(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service over a copy of the studies; what it leaves beside them is found."""
    elsewhere, studies = tmp_path_factory.mktemp("elsewhere"), tmp_path_factory.mktemp("copy") / "studies"
    shutil.copytree(finished / "studies", studies)
    program = (shutil.which("true") or "true",)
    before = sorted(finished.iterdir())
    app = make_app(replace(ServiceSettings(Workplace(studies), (finished,)), program=program))
    with pytest.MonkeyPatch.context() as patched, TestClient(app, base_url=OURS, raise_server_exceptions=False) as made:
        patched.chdir(elsewhere)
        patched.setenv("HF_HUB_OFFLINE", "1")
        patched.setenv("HF_HOME", str(elsewhere))
        app.state.service.watchers.closing = True  # an event stream is described, not waited for
        yield made
    assert list(elsewhere.iterdir()) == []
    assert sorted(finished.iterdir()) == before
    assert [path.name for path in studies.parent.iterdir()] == ["studies"]


@st.composite
def cases(draw: st.DrawFn, label: str, mode: GenerationMode, finished: Path) -> Case:
    """As the description allows or forbids; in half of them what names a thing names one that is there."""
    case: Case = draw(OPERATIONS[label].as_strategy(generation_mode=mode))
    if draw(st.booleans()):
        known = {"study": STUDY, "number": draw(st.integers(0, 12)), "form": draw(st.sampled_from(["command", "card"]))}
        here = case.path_parameters or {}
        case.path_parameters = here | {name: known[name] for name in here if name in known}
        if label == "GET /api/plan":
            case.query = (case.query or {}) | {"model": "tiny.gguf"}
        if label == "POST /api/studies":
            case.body = {"config": draw(settings_of_a_search(finished))}
        if label == "POST /api/runs":
            case.body = {"command": draw(st.sampled_from(RUN_COMMANDS)), "words": draw(st.lists(WORDS, max_size=5))}
    return case


@st.composite
def settings_of_a_search(draw: st.DrawFn, finished: Path) -> dict[str, Any]:
    texts = {f"{name}_text": str(finished / f"{name}.txt") for name in ("search", "report")}
    changed = draw(st.dictionaries(st.sampled_from(sorted(SearchConfig.model_fields)), JSON, max_size=2))
    return {"model": "tiny.gguf", "budget": "5bpw", "evaluation": {"ctx_size": 64, "chunks": 4}} | texts | changed


def send(client: TestClient, case: Case) -> None:
    request = {key: value for key, value in case.as_transport_kwargs(base_url=OURS).items() if value}
    if isinstance(request.get("data"), bytes | str):
        request["content"] = request.pop("data")  # as httpx calls it
    with suppress(InvalidURL):  # 64 kB, which the client does not send
        case.validate_response(client.request(**request), checks=ALWAYS)


def run(client: TestClient, finished: Path, label: str, mode: GenerationMode, number: int) -> None:
    quiet = list(HealthCheck)

    @seed(6)
    @examples(max_examples=number, deadline=None, database=None, suppress_health_check=quiet)
    @given(case=cases(label, mode, finished))
    def operation(case: Case) -> None:
        send(client, case)

    # An operation that takes nothing can be sent nothing wrong: then no example is found.
    with suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
        operation()


@pytest.mark.parametrize("label", LABELS)
def test_every_operation_as_described(client: TestClient, finished: Path, label: str) -> None:
    run(client, finished, label, GenerationMode.POSITIVE, 5)


@pytest.mark.long
@pytest.mark.parametrize("label", LABELS)
def test_many_requests(client: TestClient, finished: Path, label: str) -> None:
    for mode in GenerationMode:
        run(client, finished, label, mode, 60)


def test_whatever_words_are_sent_no_run_reaches_beside_the_folders(client: TestClient, finished: Path) -> None:
    run(client, finished, "POST /api/runs", GenerationMode.POSITIVE, 60)
    here = client.app.state.service  # type: ignore[attr-defined]  # TestClient's app has no type
    ran = [job.arguments for job in here.supervisor.jobs() if job.kind in RUNS]
    assert ran
    places = (finished.resolve(), here.settings.workplace.studies.resolve(), BUNDLED)
    for path in (word.rpartition("=")[2] for arguments in ran for word in arguments if "/" in word):
        assert any(Path(path).resolve().is_relative_to(place) for place in places), path
