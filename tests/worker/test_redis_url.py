"""For each spelling of the address of Redis, redis-py and Celery's transport use the same server and database."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.connection import Connection
from pydantic import ValidationError

from app.cli.errors import error_sentence
from app.server.embedded_redis import find_server
from app.settings import AppSettings
from tests.worker.conftest import until
from worker.celery_app import make_celery, notify_workers
from worker.jobs.keys import notifications_key
from worker.redis_address import celery_address
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("redis://h", "redis://h/0"),
        ("redis://:p%40w@h:7/3", "redis://:p%40w@h:7/3"),
        ("redis://h/?db=3", "redis://h/3"),
        ("redis://h?virtual_host=2", "redis://h/2"),
        ("valkey://h:7/1", "redis://h:7/1"),
        ("valkeys://[::1]:7/1", "rediss://[::1]:7/1"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "rediss://h/0?ssl_cert_reqs=none"),
        ("unix:///tmp/a.sock", "unix:///tmp/a.sock?db=0"),
        ("unix:///tmp/a.sock?db=3", "unix:///tmp/a.sock?db=3"),
        ("redis+socket:///tmp/a.sock?virtual_host=3", "unix:///tmp/a.sock?db=3"),
        ("redis+socket://:secret@/tmp/a.sock", "unix://:secret@/tmp/a.sock?db=0"),
    ],
)
def test_every_spelling_names_the_same_database_for_both_libraries(given: str, used: str) -> None:
    url = WorkerSettings(redis_url=given).redis_url
    assert url == used
    ours = redis.Redis.from_url(url).connection_pool.connection_kwargs
    theirs: Any = Connection(celery_address(url))  # type: ignore[no-untyped-call]
    database = theirs.virtual_host
    if url.startswith("unix"):
        assert theirs.transport_cls == "redis+socket" or theirs.as_uri().startswith("redis+socket")
        assert "virtual_host=" + str(ours["db"]) in celery_address(url)
    else:
        assert int(str(database).strip("/") or 0) == ours.get("db", 0)
        assert (theirs.hostname, theirs.port or 6379) == (ours["host"], ours.get("port", 6379))


@pytest.mark.parametrize(
    "given",
    [
        "http://h:6379/0", "sentinel://h:26379", "h:6379", "unix://relative.sock", "redis://h/name", "redis://h:port",
        "redis://h?db=x", "",
    ],
)  # fmt: skip
def test_any_other_address_is_refused_without_being_repeated(given: str) -> None:
    with pytest.raises(ValidationError) as refused:
        WorkerSettings(redis_url=given)
    assert "redis://host:6379/0" in str(refused.value)
    command = [sys.executable, "-m", "app.cli", "worker"]
    if given == "http://h:6379/0":
        result = subprocess.run(command, env={"ACGAN_REDIS_URL": given}, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert "ACGAN_REDIS_URL" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "given",
    [
        "redis://:ab/cdsecret@h:1", ":secret@h:1", "x:secret@h:1", "secret:x@h:1", "redis:/:secret@h:1",
        "redis://:ab'secret@h:x", "redis://:ab#secret@h:1", "redis://:12#secret@h:1", "redis://:12?secret@h:1",
        "redis://:a secret@h/x", "redis://[secret@h",
    ],
)  # fmt: skip
def test_no_part_of_a_password_is_in_the_error(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_REDIS_URL", given)
    with pytest.raises(ValidationError) as refused:
        WorkerSettings()
    assert "secret" not in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        AppSettings()
    sentence = error_sentence(refused.value)
    assert "ACGAN_REDIS_URL" in sentence
    assert "secret" not in sentence
    assert sentence.endswith(("***@h'", "***@h:1'", "***@h:x'", "***@h/x'"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STORE", "swift://me:se/secret@host/prefix"),
        ("ALLOWED_HOSTS", "me:secret@host"),
        ("CORS_ORIGINS", "https://me:se/secret@host"),
        ("LOG_LEVEL", "me:secret@host"),
    ],
)
def test_credentials_in_other_settings_are_not_shown_either(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACGAN_{name}", value)
    with pytest.raises(ValidationError) as refused:
        AppSettings()
    assert "secret" not in error_sentence(refused.value)


@pytest.fixture
def on_a_socket(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "r.sock"
    command = [find_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until(lambda: answers(path))
    yield path
    process.terminate()
    process.wait()


def answers(path: Path) -> bool:
    """The file exists a moment before the server accepts connections."""
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.mark.parametrize("spelling", ["unix://{}?db=3", "redis+socket://{}?virtual_host=3"])
def test_a_worker_is_notified_over_a_socket_in_the_database_of_the_record(on_a_socket: Path, spelling: str) -> None:
    settings = WorkerSettings(redis_url=spelling.format(on_a_socket))
    celery = make_celery(settings)
    notify_workers(celery)
    celery.close()
    with redis.Redis(unix_socket_path=str(on_a_socket), db=3) as client:
        assert client.llen(notifications_key("any")) == 1
