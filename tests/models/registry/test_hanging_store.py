"""A store whose file system hangs: every read, by any caller, ends after its time limit."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.registry.retention import apply_retention, check_room
from models.registry.serving_policy import read_choice
from models.registry.storage.base import Unreachable
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore, FileRecord
from models.synthesis.order import DatasetOrder, Provenance
from models.synthesis.shards import Shards
from tests.models.registry.test_store import FILES, NEW
from tests.support import records
from tests.support.stores import best

SECONDS = 0.3
RECORD = FileRecord.of(FILES[GENERATOR])
FIRST = CheckpointId(NEW, 1)
CALLS = ["open", "stat", "lstat", "scandir", "listdir"]
ORIGIN = Provenance(generator_sha256="", device="cpu", code_version="")
PART = DatasetOrder(checkpoint=str(FIRST)).parts[0]

READS: dict[str, Callable[[CheckpointStore], object]] = {
    "the pointer": lambda store: store.find_latest(),
    "all manifests": lambda store: store.survey(),
    "the epochs of a job": lambda store: store.epochs(NEW),
    "whether a checkpoint exists": lambda store: store.stands(FIRST),
    "a manifest": lambda store: store.manifest(FIRST),
    "a file": lambda store: store.read(
        records.manifest(NEW, 1).model_copy(update={"files": {GENERATOR: RECORD}}), GENERATOR
    ),
    "the state": lambda store: store.load_state(NEW),
    "whether there is a state": lambda store: store.check_state(NEW),
    "the identity": lambda store: store.check_identity(),
    "the highest token": lambda store: store.highest_fence(),
    "the token of a job": lambda store: store.storage.fence(NEW),
    "whether there is a data set": lambda store: store.has_dataset(NEW),
    "a file of a data set": lambda store: store.read_dataset(NEW, "images"),
    "which parts were drawn": lambda store: Shards(store, NEW).names(),
    "a part that was drawn": lambda store: Shards(store, NEW).fetch(PART, store.root.with_name("workshop"), ORIGIN),
    "whether a helper uses the same store": lambda store: Shards(store, NEW).reach(1),
    "what is chosen": lambda store: read_choice(store),
    "the best checkpoint": lambda store: best(store, "mnist"),
    "the room that is left": lambda store: check_room(store, 1, []),
    "what may be deleted": lambda store: apply_retention(store, 1),
    "the claim of a job": lambda store: store.take(NEW, 7),
    "a publication": lambda store: store.publish(records.manifest(NEW, 2, fence=1), FILES),
    "the saving of a state": lambda store: store.save_state(NEW, b"state", 1),
}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    made = CheckpointStore(FilesystemStorage(tmp_path / "store"))
    made.take(NEW, 1)
    made.publish(records.manifest(NEW, 1, fence=1), FILES)
    made.save_state(NEW, b"state", 1)
    return CheckpointStore(FilesystemStorage(tmp_path / "store", seconds=SECONDS))


@pytest.fixture
def hanging(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckpointStore]:
    """Calls of the operating system that read below the store's folder wait until the test is over."""
    over = threading.Event()

    def waiting(call: Callable[..., Any]) -> Callable[..., Any]:
        def wait(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, str | os.PathLike) and str(path).startswith(str(store.root)):
                over.wait(50)
            return call(path, *args, **kwargs)

        return wait

    for name in CALLS:
        monkeypatch.setattr(os, name, waiting(getattr(os, name)))
    yield store
    over.set()
    for thread in threading.enumerate():  # those that hung end before the original calls are restored
        if thread.name == "store read":
            thread.join(10)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", list(READS))
def test_a_read_ends_after_its_time_limit(hanging: CheckpointStore, name: str) -> None:
    began = time.monotonic()
    ended: list[BaseException | None] = []

    def read() -> None:
        try:
            READS[name](hanging)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(40)
    assert ended, f"it still hangs after {time.monotonic() - began:.0f} s"
    assert isinstance(ended[0], Unreachable), repr(ended[0])
