"""Uploads of files, on a real server: checks before the first byte, limits, pauses, lost connections, full disks."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from app.api.uploads import receiving
from app.api.uploads.receiving import Uploads
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.file_locks import try_lock
from models.registry.retention import Usage
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import CheckpointStore
from tests.app.conftest import fresh_weights, publish_two
from tests.conftest import RunningRedis, set_environment
from tests.support.disks import mounted_disk
from tests.support.forks import FORKS, _command
from tests.support.ports import free_port
from tests.support.raw_http import HOST, Received, connected, receive, send_raw
from tests.support.serving import serving, until

ROOT_KEY, TRAINER, READER = (make_key(role.value, role) for role in (Role.ADMIN, Role.TRAIN, Role.READ))
KEYS = SecretStr(" ".join(str(entry) for _, entry in (ROOT_KEY, TRAINER, READER)))
LIMIT = 12_000_000
STALL = 1.5  # of the impatient server
KEY = f"X-API-Key: {ROOT_KEY[0]}\r\n".encode()
TYPE = b"Content-Type: application/octet-stream\r\n"
EXPECT = b"Expect: 100-continue\r\n"
CLOSE = b"Connection: close\r\n"


def head(*headers: bytes, size: int | None = 1000, query: bytes = b"") -> bytes:
    length = b"" if size is None else b"Content-Length: %d\r\n" % size
    return b"POST /checkpoints" + query + b" HTTP/1.1\r\n" + HOST + length + b"".join(headers) + b"\r\n"


class Api:
    def __init__(self, address: str, settings: AppSettings) -> None:
        self.address, self.folder = address, settings.store_dir

    def files(self) -> list[Path]:
        """The files that are being received."""
        return sorted(self.folder.glob(".upload-*"))

    def upload(self, data: bytes) -> httpx2.Response:
        headers = {"X-API-Key": ROOT_KEY[0], "Content-Type": "application/octet-stream"}
        return httpx2.post(f"{self.address}/checkpoints", content=data, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def usual(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppSettings]:
    """A server whose requests must arrive within a second, apart from files, for which it waits long."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("uploads") / "home")
        settings = AppSettings(
            redis_url=shared_redis.url,
            api_keys=KEYS,
            upload_limit=LIMIT,
            upload_stall_seconds=600.0,
            request_seconds=1.0,
            stock=0,
        )
        publish_two(CheckpointStore(settings.store_dir))
        yield settings


@pytest.fixture(scope="module")
def api(usual: AppSettings) -> Iterator[Api]:
    with serving(usual) as address:
        yield Api(address, usual)


@pytest.fixture
def impatient(usual: AppSettings) -> Iterator[Api]:
    """A server of the same store that gives up an upload soon. A busy machine can hold back any upload that long."""
    with serving(usual.model_copy(update={"upload_stall_seconds": STALL})) as address:
        yield Api(address, usual)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if {"api", "impatient"} & set(request.fixturenames):
        usual = request.getfixturevalue("usual")
        until("no temporary file is left", lambda: not Api("", usual).files())


def problem(reply: Received) -> dict[str, object]:
    body: dict[str, object] = json.loads(reply.data.rpartition(b"\r\n\r\n")[2])
    return body


REFUSED = {
    "no key": (head(TYPE), 401, "key-required"),
    "an unknown key": (head(TYPE, b"X-API-Key: other\r\n"), 401, "key-unknown"),
    "the key of a trainer": (head(TYPE, f"X-API-Key: {TRAINER[0]}\r\n".encode()), 403, "not-allowed"),
    "the key of a reader": (head(TYPE, f"X-API-Key: {READER[0]}\r\n".encode()), 403, "not-allowed"),
    "a page of another origin": (head(TYPE, KEY, b"Sec-Fetch-Site: cross-site\r\n"), 403, "foreign-origin"),
    "too large": (head(TYPE, KEY, size=LIMIT + 1), 413, "upload-too-large"),
    "no type": (head(KEY), 415, "unsupported-file-type"),
    "JSON": (head(KEY, b"Content-Type: application/json\r\n"), 415, "unsupported-file-type"),
    "a form": (head(KEY, b"Content-Type: multipart/form-data; boundary=x\r\n"), 415, "unsupported-file-type"),
    "compressed": (head(KEY, TYPE, b"Content-Encoding: gzip\r\n"), 415, "unsupported-file-type"),
    "an unknown parameter": (head(KEY, TYPE, query=b"?colour=red"), 422, "invalid-input"),
    "unknown training data": (head(KEY, TYPE, query=b"?dataset=cats"), 404, "training-data-not-found"),
}


@pytest.mark.parametrize("waits", [True, False], ids=["waits for 100", "sends nothing"])
@pytest.mark.parametrize(("sent", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_comes_before_the_first_byte(api: Api, sent: bytes, status: int, code: str, waits: bool) -> None:
    reply = send_raw(api.address, sent[:-2] + (EXPECT if waits else CLOSE) + b"\r\n")
    assert b"connection: close" in reply.data.lower()  # what follows would be read as the body
    assert reply.statuses == [status], reply.data
    assert problem(reply)["type"] == f"/problems/{code}"


def test_an_admitted_client_is_asked_for_the_file(api: Api) -> None:
    with connected(api.address) as connection:
        connection.sendall(head(KEY, TYPE, EXPECT, CLOSE, size=7))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(b"nothing")
        reply = receive(connection)
    assert reply.statuses == [422]
    assert problem(reply)["type"] == "/problems/invalid-upload"


def test_a_client_that_sends_a_large_file_receives_the_refusal(usual: AppSettings) -> None:
    """It reads the response only after it has sent everything: the rest of the file is read and ignored."""
    sent = head(TYPE, size=LIMIT) + bytes(LIMIT)
    patient = usual.model_copy(update={"request_seconds": 60.0})
    with serving(patient) as address, connected(address) as connection:
        connection.sendall(sent)
        assert b" 401 " in connection.recv(100)


def test_a_body_of_unknown_size_is_cut_off_at_the_limit(api: Api) -> None:
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    chunked = head(KEY, TYPE, b"Transfer-Encoding: chunked\r\n", CLOSE, size=None)
    reply = send_raw(api.address, chunked + (1 + LIMIT // (1 << 20)) * chunk + b"0\r\n\r\n")
    assert reply.statuses == [413]
    assert problem(reply)["type"] == "/problems/upload-too-large"
    assert f"{LIMIT:,} bytes" in str(problem(reply)["detail"])


@contextmanager
def begun(api: Api, data: bytes, part: int) -> Iterator[Callable[[], Received]]:
    """An upload of which the first `part` bytes are sent. Yields a function that sends the rest."""
    before = len(api.files())
    with connected(api.address) as connection:
        connection.sendall(head(KEY, TYPE, CLOSE, size=len(data)) + data[:part])
        until("the upload has begun", lambda: len(api.files()) == before + 1)

        def finish() -> Received:
            connection.sendall(data[part:])
            return receive(connection, 60)

        yield finish


def test_a_slow_client_may_take_longer_than_other_requests(impatient: Api) -> None:
    data, longest = fresh_weights(1), [0.0]
    pieces = [data[start : start + len(data) // 5 + 1] for start in range(0, len(data), len(data) // 5 + 1)]

    def slowly() -> Iterator[bytes]:
        yield head(KEY, TYPE, CLOSE, size=len(data))
        for piece in pieces:
            began = time.monotonic()
            time.sleep(0.4)
            longest[0] = max(longest[0], time.monotonic() - began)
            yield piece

    for _ in range(5):
        longest[0] = 0.0
        reply = send_raw(impatient.address, slowly(), seconds=60)
        if longest[0] < STALL / 2:  # else this process paused, and the upload may have ended
            break
    assert reply.statuses == [200], reply.data


def test_an_upload_that_stalls_ends(impatient: Api) -> None:
    with connected(impatient.address) as connection:
        connection.sendall(head(KEY, TYPE, size=1000) + bytes(10))
        reply = receive(connection, 60)
    assert reply.closed
    assert reply.statuses == [408]
    assert problem(reply)["type"] == "/problems/upload-timeout"
    assert f"{STALL:g} seconds" in str(problem(reply)["detail"])


def test_a_lost_connection_leaves_nothing(api: Api) -> None:
    with begun(api, fresh_weights(1), 3_000_000):
        pass
    until("the temporary file is deleted", lambda: not api.files())


def test_two_uploads_at_a_time_and_no_more(api: Api) -> None:
    data = fresh_weights(1)
    with begun(api, data, 10) as first, begun(api, data, 2_000_000) as second:
        third = api.upload(data)
        assert (third.status_code, third.json()["type"]) == (503, "/problems/too-many-uploads")
        assert third.headers["Retry-After"] == "10"
        assert [finish().statuses for finish in (second, first)] == [[200], [200]]
    assert api.upload(data).status_code == 200


def test_what_does_not_fit_into_the_store_is_refused_unread(usual: AppSettings) -> None:
    stored = Usage(FilesystemStorage(usual.store_dir).files()).total
    with serving(usual.model_copy(update={"store_limit": stored + 1000})) as address:
        reply = send_raw(address, head(KEY, TYPE, EXPECT, CLOSE, size=1_000_000))
        assert reply.statuses == [409], reply.data
        assert problem(reply)["type"] == "/problems/store-full"
        api = Api(address, usual)
        with begun(api, b"nothing", 1) as finish:
            assert send_raw(address, head(KEY, TYPE, CLOSE, size=995)).statuses == [409]  # with the first, too much
            assert finish().statuses == [422]


@pytest.mark.faults
def test_a_full_disk_is_reported_and_harms_nothing(usual: AppSettings, tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", 8) as disk, serving(usual.model_copy(update={"store": disk})) as address:
        api = Api(address, usual.model_copy(update={"store": str(disk)}))
        (disk / "filler").write_bytes(bytes(5 << 20))
        answer = api.upload(fresh_weights(1))
        assert (answer.status_code, answer.json()["detail"][:30]) == (503, "The disk of the store is full:")
        assert not api.files()
        (disk / "filler").write_bytes(bytes(1 << 20))  # room for the temporary file, and not for a checkpoint
        answer = api.upload(fresh_weights(1))
        assert (answer.status_code, answer.json()["detail"][:30]) == (503, "The disk of the store is full:")
        assert [path.name for path in disk.iterdir() if path.is_dir() and any(path.iterdir())] == []


def test_the_file_of_a_killed_process_is_deleted_at_the_next_start(usual: AppSettings, tmp_path: Path) -> None:
    port = free_port()
    names = {
        "REDIS_URL": usual.redis_url,
        "HOME": usual.home,
        "API_KEYS": KEYS.get_secret_value(),
        "UPLOAD_STALL_SECONDS": "600",
    }
    environment = {**os.environ, **{f"ACGAN_{name}": str(value) for name, value in names.items()}}
    output = [tmp_path / "stdout", tmp_path / "stderr"]
    process = FORKS.Process(
        target=_command, args=(("serve", "--port", str(port)), environment, tmp_path, output), daemon=True
    )
    api = Api(f"http://127.0.0.1:{port}", usual)
    with ExitStack() as stack:
        process.start()
        stack.callback(process.join)
        stack.callback(process.kill)
        until("the API answers", lambda: answers(api.address), 60)
        stack.enter_context(begun(api, fresh_weights(1), 2_000_000))
        with serving(usual):
            assert len(api.files()) == 1  # of a living process
        process.kill()  # before the connection is closed: a living process deletes the file of a lost upload
        process.join()
    assert len(api.files()) == 1
    with serving(usual):
        assert not api.files()


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/livez").status_code == 200
    except httpx2.TransportError:
        time.sleep(0.1)
        return False


@pytest.mark.parametrize("has_ended", [True, False])
def test_a_new_file_that_another_process_takes_for_that_of_a_killed_one_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_ended: bool
) -> None:
    """Between the creation of the file and its lock, another process deletes it or is about to."""
    mine, other = (Uploads(lambda: tmp_path, 1000, 1.0) for _ in range(2))
    first, held = list[str](), ExitStack()

    def disturbed(descriptor: int) -> bool:
        if not first:
            first.extend(path.name for path in tmp_path.iterdir())
            if has_ended:
                assert other.remove_unfinished() == first
            else:
                assert try_lock(held.enter_context((tmp_path / first[0]).open("r+b")).fileno())
        return try_lock(descriptor)

    monkeypatch.setattr(receiving, "try_lock", disturbed)
    with held:
        path, file = mine._create()
        held.callback(receiving.remove, path, file)
        assert [each.name for each in tmp_path.iterdir()] == [path.name] != first
        assert other.remove_unfinished() == []
    assert list(tmp_path.iterdir()) == []
