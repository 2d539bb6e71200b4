"""The Compose files, alone and combined as the documentation describes."""

import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.server import GRACE_SECONDS
from app.settings import AppSettings
from tests.deploy.manifests import ROOT
from tests.support.ports import free_port

SETTINGS = {f"ACGAN_{name.upper()}" for name in AppSettings.model_fields}
AWS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"}
OTHERS = {"FORWARDED_ALLOW_IPS", "OMP_NUM_THREADS"} | AWS  # read by uvicorn, torch and obstore themselves
FILES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("docker-compose*.yml"))}
TOGETHER = (
    ("docker-compose.yml", "docker-compose.override.yml"),
    ("docker-compose.yml", "docker-compose.scale.yml"),
    ("docker-compose.yml", "docker-compose.override.yml", "docker-compose.s3.yml"),
    ("docker-compose.yml", "docker-compose.scale.yml", "docker-compose.s3.yml"),
)
HAPROXY = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()


def services(*names: str) -> dict[str, dict[str, Any]]:
    """Each service of the combined files: ports and variables merged, everything else from the last file."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, message in FILES[name]["services"].items():
            known = found.setdefault(service, {})
            ports = [*known.get("ports", []), *message.get("ports", [])]
            environment = {**known.get("environment", {}), **message.get("environment", {})}
            known.update({**message, "ports": ports, "environment": environment})
    return found


def test_every_variable_is_a_setting() -> None:
    assert len(FILES) == 4
    named = {name for message in services(*FILES).values() for name in message["environment"]}
    assert named - SETTINGS == OTHERS


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_no_service_can_fill_the_disk_with_its_log(names: tuple[str, ...]) -> None:
    limited = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "4"}}
    assert {service: message.get("logging") for service, message in services(*names).items()} == dict.fromkeys(
        services(*names), limited
    )


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_exactly_one_service_publishes_the_port(names: tuple[str, ...]) -> None:
    ports = {service: message["ports"] for service, message in services(*names).items() if message["ports"]}
    door = "edge" if "docker-compose.scale.yml" in names else "api"
    assert ports == {door: ["127.0.0.1:${ACGAN_PORT:-8000}:8000"]}


@pytest.mark.parametrize("service", ["api", "worker", "worker-gpu", "edge"])
def test_services_run_without_privileges_on_a_read_only_file_system(service: str) -> None:
    message = services(*FILES)[service]
    assert message["read_only"] is True
    assert message["cap_drop"] == ["ALL"]
    assert message["security_opt"] == ["no-new-privileges:true"]
    assert message.get("user", "10001") != "0"
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert "user" in message or user[1] == "10001"


def test_only_the_worker_of_the_profile_gets_a_gpu_and_does_not_start_without_it() -> None:
    made = services("docker-compose.yml")
    gpu = made["worker-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu", "compute", "utility"]}
    assert gpu["environment"]["ACGAN_DEVICE"] == "cuda"  # not `auto`, which would train on the CPU
    assert gpu["profiles"] == ["gpu"]
    for service in ("api", "worker"):
        assert "ACGAN_DEVICE" not in made[service]["environment"]
        assert not {"deploy", "profiles"} & made[service].keys()


def test_the_gpu_worker_is_like_the_other_worker() -> None:
    for names in TOGETHER:
        made = services(*names)
        differences = {key for key, value in made["worker-gpu"].items() if made["worker"].get(key) != value}
        assert differences <= {"profiles", "deploy", "environment"}
        others = made["worker-gpu"]["environment"].keys() - made["worker"]["environment"].keys()
        assert others == {"ACGAN_DEVICE"}


def test_health_checks_start_no_python() -> None:
    """A Python process for each check would take a tenth of a second of processor time, `celery inspect` a second."""
    assert [service for service, message in services(*FILES).items() if "healthcheck" in message] == ["redis"]
    image = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["healthcheck"]' in image
    assert "COPY deploy/healthcheck /usr/local/bin/healthcheck" in image
    assert (ROOT / "deploy" / "healthcheck").stat().st_mode & 0o111


@pytest.mark.parametrize(("part", "status", "code"), [("api", 200, 0), ("api", 503, 1), ("worker", 200, 0), ("", 0, 1)])
def test_the_health_check_asks_the_api_or_the_worker(part: str, status: int, code: int) -> None:
    paths: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ports = {"api": free_port(), "worker": free_port()}
    environment = {"ACGAN_PORT": str(ports["api"]), "ACGAN_METRICS_PORT": str(ports["worker"]), "PATH": "/nowhere"}
    with HTTPServer(("127.0.0.1", ports.get(part, 0)), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        command = ["/bin/bash", str(ROOT / "deploy" / "healthcheck")]
        done = subprocess.run(command, env=environment, check=False, capture_output=True, timeout=10)
        server.shutdown()
    assert done.returncode == code, done.stderr
    assert paths == {"api": ["/readyz"], "worker": ["/metrics"], "": []}[part]


def test_the_image_requires_cuda_and_assigns_no_gpu() -> None:
    """With NVIDIA_VISIBLE_DEVICES=all in the image, the API would see every GPU too."""
    text = (ROOT / "Dockerfile").read_text()
    variables = dict(re.findall(r"(NVIDIA_\w+)=(\S+)", text))
    assert variables == {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    assert not any("NVIDIA_VISIBLE_DEVICES" in path.read_text() for path in ROOT.glob("docker-compose*.yml"))


def test_the_home_of_the_images_user_is_writable() -> None:
    """CUDA keeps its cache in the home, and the rest of the file system is read-only."""
    text = (ROOT / "Dockerfile").read_text()
    (home,) = re.findall(r"useradd .*--home-dir (\S+)", text)
    assert f"VOLUME {home}\n" in text


@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_services_have_enough_time_to_shut_down(names: tuple[str, ...]) -> None:
    api = services(*names)["api"]
    seconds = int(api["environment"].get("ACGAN_DRAIN_SECONDS", 0))
    assert int(api["stop_grace_period"].removesuffix("s")) > seconds + GRACE_SECONDS
    if "edge" in services(*names):  # the proxy detects the replica in time, even if its check is slow
        (slow,) = re.findall(r"timeout check (\d+)s", HAPROXY)
        ((every, again),) = re.findall(r" inter (\d+)s fastinter (\d+)ms .* fall 2 ", HAPROXY)
        assert seconds > int(slow) + int(every) + int(again) / 1000


def test_the_proxy_has_the_same_limits_as_the_api() -> None:
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
def test_haproxy_accepts_its_configuration() -> None:
    path = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def composed(names: tuple[str, ...], where: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """The files as rendered by docker-compose 1.29, in a shell with only these variables."""
    options = [option for name in names for option in ("-f", str(ROOT / name))]
    return subprocess.run(
        ["docker-compose", "--project-directory", str(ROOT), *options, "config"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        cwd=where,
        env={"PATH": os.environ["PATH"], **environment},
    )


needs_compose = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose 1.29")


@needs_compose
@pytest.mark.parametrize("names", TOGETHER, ids="+".join)
def test_the_old_compose_accepts_the_files(names: tuple[str, ...], tmp_path: Path) -> None:
    done = composed(names, tmp_path, {"ACGAN_STORE": "s3://bucket/prefix"})
    assert done.returncode == 0, done.stderr


@needs_compose
def test_the_old_compose_keeps_the_workers_gpu(tmp_path: Path) -> None:
    made = yaml.safe_load(composed(TOGETHER[0], tmp_path, {"COMPOSE_PROFILES": "gpu"}).stdout)["services"]
    (device,) = made["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"]) == ("nvidia", 1)
    assert made["worker-gpu"]["environment"]["ACGAN_DEVICE"] == "cuda"
    assert "deploy" not in made["api"]


@needs_compose
def test_api_and_workers_get_the_bucket_and_its_credentials(tmp_path: Path) -> None:
    result = {"ACGAN_STORE": "s3://bucket/prefix", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "mine"}
    made = yaml.safe_load(composed(TOGETHER[-1], tmp_path, result).stdout)
    for service in ("api", "worker"):
        environment = made["services"][service]["environment"]
        assert environment.items() >= result.items()
        assert all(environment[name] is None for name in AWS - result.keys())  # not set: a role may provide them


@needs_compose
def test_a_missing_bucket_is_reported(tmp_path: Path) -> None:
    done = composed(TOGETHER[-1], tmp_path, {})
    assert done.returncode != 0
    assert "set it to s3://bucket/prefix" in done.stderr
