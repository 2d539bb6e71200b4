"""Weights downloaded by both clients and by the commands: checked, resumed, and refused if they are damaged."""

import asyncio
import base64
import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acgan_client import AsyncClient, Client, Misconfigured, NotUnderstood
from acgan_client.problems import CheckpointFileNotFound, InUse
from app.settings import AppSettings
from models.interop.exports import convert
from models.registry.store import GENERATOR, SAMPLES, CheckpointStore
from tests.app.cli.test_cli import acgan
from tests.app.conftest import fresh_weights, publish_two
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD
from tests.support.hostile_server import Answer, hostile, http
from tests.support.serving import serving

ID = f"{OLD}-e001"
MANIFEST = f"/checkpoints/{ID}/manifest.json"
FILE = f"/checkpoints/{ID}/{GENERATOR}"
DATA = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def address(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("weights") / "home")
        settings = AppSettings(redis_url=shared_redis.url)
        publish_two(CheckpointStore(settings.store_dir))
        with serving(settings) as address:
            yield address


def test_both_clients_download_files_and_exports(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        path = client.download_checkpoint_file(ID, GENERATOR, tmp_path / "mine.safetensors")
        assert (path.name, path.read_bytes()) == ("mine.safetensors", fresh_weights(1))
        paths = list(client.download_checkpoint("latest", tmp_path / "all"))
        assert [path.name for path in paths] == ["manifest.json", GENERATOR, SAMPLES]
        assert json.loads(paths[0].read_bytes())["id"] == f"{NEW}-e001"
        assert paths[1].read_bytes() == fresh_weights(2)
        exported = client.export(ID, "keras3", tmp_path)
        assert exported == tmp_path / "generator.weights.h5"
        assert exported.read_bytes() == convert(fresh_weights(1), "generator", "keras3", ID)
        with pytest.raises(CheckpointFileNotFound):
            client.export(ID, "keras", tmp_path, weights="average")
        with pytest.raises(CheckpointFileNotFound):
            client.download_checkpoint_file(ID, "discriminator.safetensors", tmp_path)
        with pytest.raises(Misconfigured):
            client.download_checkpoint_file(ID, "../job.json", tmp_path)

    async def ask() -> Path:
        async with AsyncClient(address) as client:
            assert [path.name async for path in client.download_checkpoint(ID, tmp_path)][1] == GENERATOR
            await client.export(ID, "keras", tmp_path)
            return await client.download_checkpoint_file(ID, GENERATOR, tmp_path)

    assert asyncio.run(ask()).read_bytes() == fresh_weights(1)
    assert not list(tmp_path.rglob("*.part"))


def test_commands_download_weights_into_a_folder_named_after_the_checkpoint(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = acgan("download", "latest", "--url", address, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made == {
        "checkpoint": f"{NEW}-e001",
        "files": [f"{NEW}-e001/{name}" for name in ("manifest.json", GENERATOR, SAMPLES)],
    }
    assert (tmp_path / made["files"][1]).read_bytes() == fresh_weights(2)
    done = acgan("download", ID, "--format", "keras", "-o", "mine", "--url", address)
    assert (done.returncode, done.stdout.strip()) == (0, "mine/generator.hdf5"), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([ID, "--format", "tflite"], "there is no format 'tflite': use --format onnx, keras, keras3"),
        ([ID, "--weights", "average"], "--discriminator and --weights need a --format"),
        ([ID, "--format", "keras", "--file", "x"], "use either --file or --format"),
        ([ID, "--format", "keras", "--weights", "best"], "use --weights average or trained"),
        ([ID, "--file", "none.bin"], "has no file 'none.bin': `acgan checkpoints --json` lists the files"),
        ([OLD, "--format", "keras"], "are for checkpoints"),
        ([f"{OLD}-e009"], f"there is no checkpoint {OLD}-e009: see `acgan checkpoints`"),
    ],
)
def test_what_cannot_be_downloaded_is_reported(address: str, words: list[str], message: str) -> None:
    done = acgan("download", *words, "--url", address)
    assert done.returncode == 2
    assert message.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_command_deletes_only_what_is_confirmed_and_not_in_use(address: str, tmp_path: Path) -> None:
    asked = acgan("delete", "checkpoint", ID, "--url", address)
    assert (asked.returncode, "pass --yes" in asked.stderr) == (2, True)
    served = acgan("delete", "checkpoint", f"{NEW}-e001", "--yes", "--url", address)
    assert (served.returncode, "is served" in served.stderr) == (2, True)
    with Client(address) as client:
        with pytest.raises(InUse):
            client.delete_checkpoint(f"{NEW}-e001")
        assert client.checkpoint(ID).id == ID
    for kind, missing in (("job", f"there is no job {OLD}"), ("dataset", f"there is no data set {OLD}")):
        done = acgan("delete", kind, OLD, "--yes", "--url", address)
        assert (done.returncode, missing in done.stderr.lower()) == (2, True), done.stderr
    kept = at_a_terminal("n", "delete", "checkpoint", ID, "--url", address)
    assert (kept.returncode, "nothing was deleted" in kept.stderr) == (2, True), kept.stderr
    assert f"Delete checkpoint {ID}? [y/N]" in kept.stderr
    with Client(address) as client:
        assert client.checkpoint(ID).id == ID
    done = at_a_terminal("y", "delete", "checkpoint", ID, "--url", address)
    assert (done.returncode, done.stdout.strip()) == (0, f"deleted checkpoint {ID}"), done.stderr


def at_a_terminal(answer: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose input is a terminal with an answer."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    command = [sys.executable, "-m", "app.cli", *words]
    try:
        return subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False, timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)


# ----------------------------------------------------------------------------
# Servers that lose connections, and servers that are not trusted.


def manifest(**files: Any) -> bytes:
    listed = files or {GENERATOR: {"sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)}}
    return http(json.dumps({"id": ID, "files": listed}).encode())


def lost(after: int, tag: str = '"one"') -> bytes:
    return http(DATA, ETag=tag)[: -(len(DATA) - after)]


def rest(start: int, status: str = "206 Partial Content", end: int = len(DATA) - 1) -> bytes:
    return http(DATA[start:], status, Content_Range=f"bytes {start}-{end}/{len(DATA)}")


def in_turn(*answers: bytes) -> Callable[[], Answer]:
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def download(url: str, folder: Path) -> Path:
    with Client(url) as client:
        return client.download_checkpoint_file(ID, GENERATOR, folder)


def test_a_lost_download_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acgan_client._sync.transport.PAUSE_SECONDS", 0.01)
    sent: dict[str, Answer | Callable[[], Answer]] = {MANIFEST: manifest(), FILE: in_turn(lost(5000), rest(5000))}
    with hostile(sent) as server:
        assert download(server.url, tmp_path).read_bytes() == DATA
        assert "range: bytes=5000-" in server.requests[-1].lower()
        assert 'if-range: "one"' in server.requests[-1].lower()
    other = http(DATA, ETag='"two"')  # the file was replaced: the whole file is sent, and the first part is dropped
    with hostile({MANIFEST: manifest(), FILE: in_turn(lost(5000), other)}) as server:
        assert download(server.url, tmp_path / "again").read_bytes() == DATA


@pytest.mark.parametrize(
    "then", [rest(4000), rest(5000, end=9), http(DATA[5000:], "206 Partial Content"), rest(5000, "204 No Content")]
)
def test_another_part_than_the_requested_one_is_refused(
    then: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acgan_client._sync.transport.PAUSE_SECONDS", 0.01)
    with hostile({MANIFEST: manifest(), FILE: in_turn(lost(5000), then)}) as server, pytest.raises(NotUnderstood):
        download(server.url, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "files",
    [
        {"../evil": {"sha256": "0" * 64, "size": 1}},
        {".bashrc": {"sha256": "0" * 64, "size": 1}},
        {"manifest.json": {"sha256": "0" * 64, "size": 1}},
        {"Makefile": {"sha256": "0" * 64, "size": 1}},
        {GENERATOR: {"sha256": "0" * 64, "size": 10**12}},
        {GENERATOR: {"sha256": "none", "size": 1}},
        {f"f{number}": {"sha256": "0" * 64, "size": 1} for number in range(60)},
    ],
)
def test_files_that_no_checkpoint_has_are_refused(files: dict[str, Any], tmp_path: Path) -> None:
    refused = pytest.raises(NotUnderstood, match="names files that no checkpoint has")
    with hostile({MANIFEST: manifest(**files)}) as server, Client(server.url) as client, refused:
        list(client.download_checkpoint(ID, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_files_that_this_client_does_not_know_are_not_written(tmp_path: Path) -> None:
    record = {"sha256": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)}
    unknown = ("Makefile", "conftest.py", "README.md", "setup.py")
    listed = json.dumps({"id": ID, "files": dict.fromkeys((*unknown, GENERATOR), record)}).encode()
    digest = base64.b64encode(hashlib.sha256(listed).digest()).decode()
    sent: dict[str, Answer | Callable[[], Answer]] = {
        MANIFEST: http(listed, Repr_Digest=f"sha-256=:{digest}:"),
        FILE: http(DATA),
        **{f"/checkpoints/{ID}/{name}": http(DATA) for name in unknown},
    }
    with hostile(sent) as server, Client(server.url) as client:
        list(client.download_checkpoint(ID, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [GENERATOR, "manifest.json"]


def test_an_export_is_checked_against_the_digest_of_the_response(tmp_path: Path) -> None:
    path = f"/checkpoints/{ID}/exports/generator.onnx"
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    good = http(DATA, Repr_Digest=f"sha-256=:{digest}:")
    for answer, fits in (
        (good, True),
        (http(DATA[::-1], Repr_Digest=f"sha-256=:{digest}:"), False),
        (http(DATA), False),
    ):
        with hostile({path: answer}) as server, Client(server.url) as client:
            if fits:
                assert client.export(ID, "onnx", tmp_path / "good.onnx").read_bytes() == DATA
            else:
                with pytest.raises(NotUnderstood):
                    client.export(ID, "onnx", tmp_path / "bad.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["good.onnx"]
