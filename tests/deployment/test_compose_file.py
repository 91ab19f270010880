"""docker-compose.yml: safe by itself, and naming only what this version of the programs takes."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from optimizer.cli import make_app
from tests.deployment.compose import (
    COMPOSE_FILE,
    ROOT,
    SEVERAL_MACHINES,
    MissingVariable,
    filled_example,
    read_compose,
    read_example,
    variables_named,
)

OURS = ("mlflow", "scheduler", "quantizer", "evaluator", "evaluator-gpu", "service")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found = read_compose(filled_example(Path("/srv/models")))["services"]
    assert isinstance(found, dict)
    return found


def test_the_services_are_these(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", *OURS}
    assert services["evaluator"]["profiles"] == ["cpu"]
    assert services["evaluator-gpu"]["profiles"] == ["gpu"]
    assert all("profiles" not in each for name, each in services.items() if not name.startswith("evaluator"))
    (device,) = services["evaluator-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_every_image_is_of_one_version(services: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])
    for name in OURS:
        kind = "cuda" if name == "evaluator-gpu" else "cpu"
        assert services[name]["image"] == f"layerquant:{version}-{kind}"
        assert services[name]["build"]["dockerfile"] == f"docker/{kind}.Dockerfile"
        assert (ROOT / services[name]["build"]["dockerfile"]).is_file()


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert set(published) == {"mlflow", "service"}
    for ports in published.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert all("network_mode" not in each and not each.get("privileged") for each in services.values())


def test_only_who_needs_the_database_reaches_it(services: dict[str, Any]) -> None:
    tree = read_compose(filled_example(Path("/srv/models")))
    assert tree["networks"]["database"] == {"internal": True}
    assert {name for name, each in services.items() if "database" in each.get("networks", [])} == {
        "postgres", "mlflow", "service",
    }  # fmt: skip
    assert services["postgres"]["networks"] == ["database"]


@pytest.mark.parametrize("name", ["postgres", *OURS])
def test_a_container_is_confined_and_comes_back(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (service["restart"], service["init"]) == ("unless-stopped", True)
    assert service["logging"]["options"]["max-size"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


def test_starting_waits_for_health(services: dict[str, Any]) -> None:
    waits = {name: set(each.get("depends_on", {})) for name, each in services.items()}
    workers = ("quantizer", "evaluator", "evaluator-gpu")
    assert waits == {
        "postgres": set(), "mlflow": {"postgres"}, "scheduler": set(), "service": {"postgres", "scheduler"},
    } | {name: {"scheduler"} for name in workers}  # fmt: skip
    for service in services.values():
        assert all(each == {"condition": "service_healthy"} for each in service.get("depends_on", {}).values())


def test_every_volume_is_named_and_every_one_used(services: dict[str, Any]) -> None:
    tree = read_compose(filled_example(Path("/srv/models")))
    mounts = [mount.split(":") for service in services.values() for mount in service.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith((".", "/"))}
    assert named == set(tree["volumes"])
    for source, _, *mode in mounts:
        if source.startswith((".", "/")):
            assert mode == ["ro"], source
        if source.startswith("."):
            assert (ROOT / source).is_dir()


def test_every_variable_is_in_the_example_and_secrets_have_no_default() -> None:
    named = {*variables_named(COMPOSE_FILE), *variables_named(SEVERAL_MACHINES)}
    assert named | {"COMPOSE_PROFILES"} == set(read_example())
    demanded = {name for name, value in read_example().items() if not value}
    assert demanded == {
        "POSTGRES_PASSWORD", "LAYERQUANT_DB_PASSWORD", "MLFLOW_DB_PASSWORD", "LAYERQUANT_TOKEN", "MODELS_DIR",
        "TLS_DIR", "SCHEDULER_ADDRESS",
    }  # fmt: skip
    complete = filled_example(Path("/srv/models"))
    for name in demanded:
        with pytest.raises(MissingVariable, match=r"in \.env"):
            read_compose(complete | {name: ""}, several_machines=True)
    read_compose(complete | {"TLS_DIR": "", "SCHEDULER_ADDRESS": ""})  # not asked for by a lab of one machine


def test_no_secret_is_on_a_command_line(services: dict[str, Any]) -> None:
    given = filled_example(Path("/srv/models"))
    secrets = [value for name, value in given.items() if name.endswith(("PASSWORD", "TOKEN"))]
    assert len(secrets) == 4
    for service in services.values():
        words = " ".join([*service.get("command", []), *service["healthcheck"]["test"]])
        assert not any(secret in words for secret in secrets)


@pytest.mark.parametrize("name", [name for name in OURS if name != "mlflow"])  # MLflow's are started in test_lab
def test_commands_are_those_of_this_version(services: dict[str, Any], name: str) -> None:
    program, command, *options = services[name]["command"]
    taken = options_of(program, command)
    assert taken.issuperset(option.partition("=")[0] for option in options)


def test_several_machines_change_the_encryption_and_nothing_else(services: dict[str, Any]) -> None:
    encrypted = read_compose(filled_example(Path("/srv/models")), several_machines=True)["services"]
    ours = [f"--tls-{name}=/tls/{name}.pem" for name in ("ca", "cert", "key")]
    for name, service in encrypted.items():
        plain = services[name]
        if name in ("postgres", "mlflow"):
            assert service == plain
            continue
        assert service["volumes"] == [*plain.get("volumes", []), "/srv/tls:/tls:ro"]
        if name == "scheduler":
            expected = [*plain["command"][:2], "--protocol=tls", *plain["command"][2:], *ours]
            expected[-3] = expected[-3].replace("--tls-ca", "--tls-ca-file")
            assert service["ports"] == ["127.0.0.1:8786:8786"]  # SCHEDULER_ADDRESS
        else:
            expected = [*(word.replace("tcp://", "tls://") for word in plain["command"]), *ours]
        assert service["command"] == expected
        assert options_of(*expected[:2]).issuperset(word.partition("=")[0] for word in expected[2:])


def test_health_checks_run_what_the_image_holds(services: dict[str, Any]) -> None:
    for name in OURS:
        kind, program, *_ = " ".join(services[name]["healthcheck"]["test"]).split()
        assert (kind in ("CMD", "CMD-SHELL"), program) == (True, "healthy")
        dockerfile = (ROOT / services[name]["build"]["dockerfile"]).read_text()
        assert "COPY docker/healthy /usr/local/bin/healthy" in dockerfile


def test_the_file_names_its_documentation() -> None:
    assert "docs/deployment.md" in COMPOSE_FILE.read_text()
    assert (ROOT / "docs" / "deployment.md").is_file()


def options_of(program: str, command: str) -> set[str]:
    """The options that a command takes, asked of the command itself."""
    if (program, command) == ("dask", "scheduler"):
        from distributed.cli.dask_scheduler import main as group
    else:
        assert program == "layerquant"
        group = typer.main.get_command(make_app(command)).commands[command]  # type: ignore[attr-defined]  # a group, of one command
    return {option for parameter in group.params for option in parameter.opts}
