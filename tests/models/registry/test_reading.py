"""User files and store records fail in the same ways, with the same exception classes."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from benchmarks.records import ask_desk
from models.bounded_reading import (
    FileDamaged,
    FileFault,
    FileInvalid,
    FileMissing,
    FileNotUnderstood,
    FileTooLarge,
    FileTorn,
    FileUnreadable,
    parse_record,
    read_bounded,
)
from models.config import TrainingConfig
from models.registry.storage.base import Unreachable
from models.registry.storage.ledger import Ledger
from models.registry.storage.reading import HIGHEST_TOKEN, read_record, seal
from models.registry.store import CheckpointStore
from models.synthesis.order import MANIFEST, read_manifest
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import JOBS, job_key
from worker.jobs.listing import not_ended

LIMIT = 2**20


class Pin(BaseModel):
    count: int


def of_user(folder: Path) -> Pin:
    return parse_record(Pin, read_bounded(folder / "pin.json", LIMIT), LIMIT, "pin.json")


def of_store(folder: Path) -> Pin:
    return read_record(CheckpointStore(folder).storage, "pin.json", Pin)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**33)


def changed(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(seal(Pin(count=1))), "count": 2}))


FAULTS: dict[str, tuple[Callable[[Path], object], type[FileFault]]] = {
    "missing": (lambda path: None, FileMissing),
    "a folder": (Path.mkdir, FileUnreadable),
    "a pipe": (os.mkfifo, FileUnreadable),
    "a loop of links": (lambda path: path.symlink_to(path), FileUnreadable),
    "too large": (sparse, FileTooLarge),
    "empty": (Path.touch, FileTorn),
    "cut off": (lambda path: path.write_text('{"count": '), FileTorn),
    "zeros": (lambda path: path.write_bytes(bytes(100)), FileTorn),
    "changed": (changed, FileDamaged),
    "of another version": (lambda path: path.write_text('{"count": "many"}'), FileNotUnderstood),
    "without the field": (lambda path: path.write_text("{}"), FileNotUnderstood),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("read", [of_user, of_store])
def test_each_fault_has_one_class_for_every_kind_of_file(
    tmp_path: Path, fault: str, read: Callable[[Path], Pin]
) -> None:
    make, kind = FAULTS[fault]
    make(tmp_path / "pin.json")
    with pytest.raises(FileFault, match=r"pin\.json") as raised:
        read(tmp_path)
    assert isinstance(raised.value, kind)
    others = {FileMissing, FileUnreadable, FileTooLarge, FileTorn, FileDamaged, FileNotUnderstood} - {kind}
    assert not isinstance(raised.value, tuple(others))
    assert isinstance(raised.value, FileInvalid) == issubclass(kind, FileInvalid)
    if read is of_store:
        assert isinstance(raised.value, Unreachable) == (kind is FileUnreadable), "only that may pass by waiting"


@pytest.mark.parametrize("read", [of_user, of_store])
def test_a_record_of_a_newer_version_is_read_without_its_new_fields(
    tmp_path: Path, read: Callable[[Path], Pin]
) -> None:
    (tmp_path / "pin.json").write_text('{"count": 3, "colour": "blue"}')
    assert read(tmp_path) == Pin(count=3)
    (tmp_path / "pin.json").write_bytes(seal(Pin(count=4)))
    assert read(tmp_path) == Pin(count=4)


@pytest.mark.parametrize(
    ("content", "kind"), [(b"", FileTorn), (b'{"order": {}}', FileNotUnderstood), (b'{"a": 1', FileTorn)]
)
def test_an_unreadable_data_set_is_distinguished_from_a_missing_one(
    tmp_path: Path, content: bytes, kind: type[FileFault]
) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(kind, match=MANIFEST):
        read_manifest(tmp_path)


def test_a_folder_that_cannot_be_listed_does_not_count_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path)
    (tmp_path / "20260101-000000-aaaaaa").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("aaaaaa"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    with monkeypatch.context() as broken:
        broken.setattr(os, "scandir", refuse)
        with pytest.raises(OSError, match="Permission denied"):
            store.storage.files()
    assert store.storage.files() == []


def test_tokens_beyond_the_exact_range_of_redis_are_invalid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less than or equal"):
        Ledger(token=HIGHEST_TOKEN + 1)
    store = CheckpointStore(tmp_path)
    store.take("20260101-000000-aaaaaa", 5)
    (tmp_path / "fence").write_text(str(2**53))
    assert store.highest_fence() <= 5


def test_a_job_with_a_state_of_another_version_has_not_ended(redis_url: str) -> None:
    async def create(jobs: JobClient) -> str:
        return (await jobs.create(Order(TrainingConfig()))).id

    job, consumer = ask_desk(redis_url, create), JobConsumer.connect(redis_url)
    consumer.redis.hset(job_key(job), "status", "paused")
    consumer.redis.zrem(f"{JOBS}:runs:queued", job)
    assert not_ended(consumer.redis) == {job}
