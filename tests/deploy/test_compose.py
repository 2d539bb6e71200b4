"""The files of Compose, each and put together as the documents say."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server import GRACE_SECONDS
from app.settings import AppSettings
from tests.deploy.manifests import ROOT

SETTINGS = {f"ACGAN_{name.upper()}" for name in AppSettings.model_fields}
OTHERS = {"FORWARDED_ALLOW_IPS"}  # uvicorn's own
FILES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("docker-compose*.yml"))}
TOGETHER = (
    ("docker-compose.yml", "docker-compose.override.yml"),
    ("docker-compose.yml", "docker-compose.override.yml", "docker-compose.gpu.yml"),
    ("docker-compose.yml", "docker-compose.scale.yml"),
    ("docker-compose.yml", "docker-compose.scale.yml", "docker-compose.gpu.yml"),
)
HAPROXY = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()


def services(*names: str) -> dict[str, dict[str, Any]]:
    """Each service of all the files, ports and variables put together, the rest as the last one says."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, said in FILES[name]["services"].items():
            known = found.setdefault(service, {})
            ports = [*known.get("ports", []), *said.get("ports", [])]
            environment = {**known.get("environment", {}), **said.get("environment", {})}
            known.update({**said, "ports": ports, "environment": environment})
    return found


def test_every_variable_is_a_setting() -> None:
    assert len(FILES) == 4
    named = {name for said in services(*FILES).values() for name in said["environment"]}
    assert named - SETTINGS == OTHERS


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_one_of_them_has_the_port_on_this_machine(names: tuple[str, ...]) -> None:
    ports = {service: said["ports"] for service, said in services(*names).items() if said["ports"]}
    door = "edge" if "docker-compose.scale.yml" in names else "api"
    assert ports == {door: ["127.0.0.1:${ACGAN_PORT:-8000}:8000"]}


@pytest.mark.parametrize("service", ["api", "worker", "edge"])
def test_nobody_special_runs_it_on_a_file_system_that_is_read_only(service: str) -> None:
    said = services(*FILES)[service]
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]
    assert said.get("user", "10001") != "0"
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert "user" in said or user[1] == "10001"


def test_whoever_has_to_end_is_given_the_time() -> None:
    assert int(services(*FILES)["api"]["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS


def test_the_edge_is_as_strict_as_the_api_and_no_stricter() -> None:
    settings = AppSettings()
    assert f"timeout http-request {settings.request_seconds:.0f}s" in HAPROXY
    assert f"timeout client {settings.send_seconds:.0f}s" in HAPROXY
    assert f"req.body_size gt {settings.max_body_bytes} " in HAPROXY
    assert f"req.hdrs,length gt {settings.max_header_bytes} " in HAPROXY
    (per_replica,) = re.findall(r"default-server .* maxconn (\d+)", HAPROXY)
    assert 2 * int(per_replica) <= settings.connections  # two backends have the same replicas
    assert "bind :8000\n" in HAPROXY
    assert HAPROXY.count(f"api:{settings.port} ") == 2
    (connections,) = re.findall(r"^ +maxconn (\d+)", HAPROXY, re.MULTILINE)
    assert services(*FILES)["edge"]["ulimits"]["nofile"] >= 2 * int(connections)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_haproxy_takes_its_configuration() -> None:
    path = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose 1.29, which is a program")
@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_the_old_compose_takes_them_too(names: tuple[str, ...], tmp_path: Path) -> None:
    options = [option for name in names for option in ("-f", str(ROOT / name))]
    done = subprocess.run(
        ["docker-compose", "--project-directory", str(ROOT), *options, "config", "--quiet"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
