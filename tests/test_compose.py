"""docker-compose.yml and Dockerfile agree with the code. (They are parsed here, not run.)"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fakes import make_library

from api.cli.commands.serve import address_of, listen
from api.cli.main import cli
from api.cli.options import read_settings
from api.http.app import create_app
from api.settings import Settings
from search.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PREFIX = "SEGSEARCH_"


def settings_of(service: str) -> Settings:
    """Return the settings that a service's environment makes, checked as a command would."""
    environment = SERVICES[service]["environment"]
    return read_settings(
        {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
    )


def port_published(service: str) -> tuple[str, int, int]:
    """Return address, port of the host and port of the container."""
    (published,) = SERVICES[service]["ports"]
    address, outside, inside = published.rsplit(":", 2)
    return address, int(outside), int(inside)


def test_there_is_a_service_for_the_cpu_and_one_for_the_gpu() -> None:
    assert OURS == ["api", "api-gpu"]
    assert "profiles" not in SERVICES["api"]
    assert SERVICES["api-gpu"]["profiles"] == ["gpu"]
    reserved = SERVICES["api-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert [settings_of(name).device for name in OURS] == ["cpu", "cuda"]


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting(service: str) -> None:
    names = [name for name in SERVICES[service]["environment"] if name.startswith(PREFIX)]
    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)
    assert settings_of(service).qdrant == "http://qdrant:6333"


@pytest.mark.parametrize("service", OURS)
def test_the_command_is_one_of_ours(service: str) -> None:
    name, *arguments = SERVICES[service]["command"]
    assert cli.commands[name].make_context(name, list(arguments)).params is not None


def test_the_commands_in_the_head_of_the_file_are_ours() -> None:
    head = (ROOT / "docker-compose.yml").read_text().split("\n\n")[0]
    runs = re.findall(r"docker compose run --rm (\S+) (.+?)(?:  .*)?$", head, re.MULTILINE)
    assert {service for service, _ in runs} == set(OURS)
    for _, line in runs:
        name, *arguments = shlex.split(line)
        assert cli.commands[name].make_context(name, arguments).params["paths"] == (
            Path("/photos"),
        )


@pytest.mark.parametrize("service", OURS)
def test_segsearch_is_reached_from_this_machine_alone(service: str) -> None:
    address, _, inside = port_published(service)
    settings = settings_of(service)
    assert address == "127.0.0.1"
    assert inside == settings.port
    assert settings.trust_network


def test_qdrant_publishes_no_port_and_only_segsearch_is_on_its_network() -> None:
    qdrant = SERVICES["qdrant"]
    assert "ports" not in qdrant
    assert qdrant["networks"] == ["vectors"]
    assert COMPOSE["networks"]["vectors"]["internal"] is True
    beside = {name for name, service in SERVICES.items() if "vectors" in service["networks"]}
    assert beside == {"qdrant", *OURS}
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", qdrant["image"])


def test_every_service_says_whether_it_is_well() -> None:
    assert all("healthcheck" in service for service in SERVICES.values())


@pytest.mark.parametrize("service", OURS)
def test_the_health_check_asks_a_route_that_there_is(service: str, tmp_path: Path) -> None:
    command = SERVICES[service]["healthcheck"]["test"]
    compile(command[3], "healthcheck", "exec")
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[a-z]*)'", command[3])
    assert asked is not None
    assert int(asked[1]) == settings_of(service).port
    with make_library(tmp_path / "library") as library:
        assert "get" in create_app(library).openapi()["paths"][asked[2]]


def test_volumes_are_where_the_image_and_the_settings_look() -> None:
    for service in OURS:
        mounted = {volume.split(":")[-1] for volume in SERVICES[service]["volumes"][1:]}
        environment = SERVICES[service]["environment"]
        assert mounted == {environment["SEGSEARCH_LIBRARY"], environment["HF_HOME"]}
        assert all(f" {folder} " in DOCKERFILE for folder in mounted)
        photos = SERVICES[service]["volumes"][0]
        assert photos.endswith(":/photos:ro")
    named = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service["volumes"]
        if not volume.startswith("$")
    }
    assert named == set(COMPOSE["volumes"])


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert {"pyproject.toml", "constraints.txt", "search", "ingest", "api", "starter"} <= {*sources}
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in kept


def test_the_image_runs_the_command_and_not_as_root() -> None:
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert list(SCRIPTS) == [entry]
    assert f"/opt/segsearch/bin/{entry} /usr/local/bin/{entry}" in DOCKERFILE
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["segsearch"]


def test_serving_beyond_loopback_takes_a_word() -> None:
    with pytest.raises(UsageError, match="--trust-network"):
        listen("0.0.0.0", 0)
    with listen("0.0.0.0", 0, beyond_loopback=True) as listening:
        assert address_of(listening).startswith("http://127.0.0.1:")
