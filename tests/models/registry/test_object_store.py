"""Object storage when it fails, and when somebody who was superseded writes late: over a real S3 endpoint."""

import threading
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from models.registry.retention import thin_out
from models.registry.storage.base import Unreachable
from models.registry.storage.cache import Cache
from models.registry.storage.object_store import ObjectShelf
from models.registry.store import (
    GENERATOR,
    MANIFEST,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    Superseded,
)
from tests.support import records
from tests.support.s3_endpoint import Endpoint, Kind, open_store
from worker.settings import WorkerSettings

JOB = "20260101-000000-aaaaaa"
FILES = {GENERATOR: b"g" * 600, "discriminator.safetensors": b"d" * 300, "samples.png": b"p" * 100}
ONE, TWO = CheckpointId(JOB, 1), CheckpointId(JOB, 2)


@pytest.fixture
def address(endpoint: Endpoint) -> str:
    return endpoint.address()


@pytest.fixture
def store(address: str, tmp_path: Path) -> CheckpointStore:
    return open_store(address, tmp_path / "here")


def objects(store: CheckpointStore) -> list[str]:
    assert isinstance(store.shelf, ObjectShelf)
    return sorted(str(meta["path"]) for page in obstore.list(store.shelf.objects) for meta in page)


def check_whole(store: CheckpointStore, *checkpoints: CheckpointId) -> None:
    for checkpoint in checkpoints:
        found = store.manifest(checkpoint)
        assert {name: store.read(found, name) for name in FILES} == FILES


# ----------------------------------------------------------------------------
# What lies there.


def test_nothing_lies_there_but_what_is_published(store: CheckpointStore) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    names = [name for name in objects(store) if not name.startswith(f"{JOB}/001.1.")]
    assert names == [f"{JOB}/job.json", "fence", "latest.json", f"ledgers/{JOB}.json", "store.json"]
    assert len(objects(store)) == len(names) + len(FILES) + 1


def test_what_is_beyond_the_budget_goes(store: CheckpointStore) -> None:
    for epoch in (1, 2):
        store.publish(records.manifest(JOB, epoch, age_seconds=3600, fence=0), FILES)
    assert thin_out(store, 0) == [str(ONE)]
    assert not [name for name in objects(store) if name.startswith(f"{JOB}/001")]
    with pytest.raises(CheckpointNotFound):
        store.manifest(ONE)
    check_whole(store, TWO)


def test_whoever_takes_over_clears_up_and_keeps_what_stands(store: CheckpointStore) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    before = objects(store)
    store.shelf.stage(TWO.folder, 1, {**FILES, MANIFEST: b"{}"})
    assert objects(store) != before
    store.take(JOB, 2)
    assert objects(store) == before
    assert store.highest_fence() == 2


def test_another_machine_resumes(store: CheckpointStore, address: str, tmp_path: Path) -> None:
    large = b"state" * 3_000_000  # several parts
    store.save_state(JOB, b"earlier")
    store.save_state(JOB, large)
    elsewhere = open_store(address, tmp_path / "elsewhere")
    assert elsewhere.load_state(JOB) == large
    assert len(elsewhere.shelf.names(JOB)) == 2
    elsewhere.drop_state(JOB)
    assert store.load_state(JOB) is None
    assert objects(store) == []


def test_without_credentials_that_fit_it_says_so(address: str, tmp_path: Path, endpoint: Endpoint) -> None:
    elsewhere = open_store(address.replace("digits", "nobodys"), tmp_path)
    with pytest.raises(OSError, match="there is no such bucket"):
        elsewhere.publish(records.manifest(JOB, 1, fence=0), FILES)


# ----------------------------------------------------------------------------
# Copies on this machine.


def test_files_are_fetched_once(store: CheckpointStore, endpoint: Endpoint) -> None:
    found = store.publish(records.manifest(JOB, 1, fence=0), FILES)
    store.read(found, GENERATOR)
    endpoint.requests.clear()
    assert store.read(found, GENERATOR) == FILES[GENERATOR]
    assert [path for _, path in endpoint.requests if GENERATOR in path] == []


def test_a_damaged_copy_is_fetched_again(store: CheckpointStore, tmp_path: Path) -> None:
    found = store.publish(records.manifest(JOB, 1, fence=0), FILES)
    store.read(found, GENERATOR)
    for copy in (tmp_path / "here" / "cache").iterdir():
        data = copy.read_bytes()
        copy.write_bytes(data[:-1] + b"x")
    check_whole(store, ONE)


def test_a_damaged_object_that_was_copied_may_be_mended(store: CheckpointStore) -> None:
    assert isinstance(store.shelf, ObjectShelf)
    found = store.publish(records.manifest(JOB, 1, fence=0), FILES)
    key = store.shelf._key(f"{ONE.folder}/{GENERATOR}")
    obstore.put(store.shelf.objects, key, b"rubbish")
    for _ in range(2):
        with pytest.raises(CheckpointDamaged):
            store.read(found, GENERATOR)
    obstore.put(store.shelf.objects, key, FILES[GENERATOR])
    check_whole(store, ONE)


def test_copies_stay_within_their_budget(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    for number in range(10):
        cache.keep(str(number), bytes(300))
        cache.get("0")  # asked for all the time
    assert cache.get("0") == bytes(300)
    assert cache.get("9") == bytes(300)
    assert cache.get("5") is None
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 1000
    cache.keep("large", bytes(2000))
    assert cache.get("large") is None


def test_without_room_for_copies_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    cache = Cache(tmp_path / "cache", 1000)
    cache.keep("one", b"1")
    assert cache.get("one") is None


# ----------------------------------------------------------------------------
# Faults: of every request of a publication, each kind.


@pytest.mark.parametrize("kind", ["refuse", "lose", "tear"])
def test_a_request_that_fails_once_is_repeated(store: CheckpointStore, endpoint: Endpoint, kind: Kind) -> None:
    """Whether or not it was done: nothing is published twice, nothing that stands is cleared away."""
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    endpoint.requests.clear()
    store.publish(records.manifest(JOB, 2), FILES)
    steps = len(endpoint.requests)
    assert steps >= 2 + len(FILES) + 1 + 2
    for number in range(steps):
        checkpoint = CheckpointId(JOB, 3 + number)
        with endpoint.fault(kind, times=1, skip=number) as fault:
            store.publish(records.manifest(*checkpoint), FILES)
        assert fault.happened == 1
        assert store.latest() == checkpoint
        check_whole(store, checkpoint)
    assert len(objects(store)) == 5 + len(store.epochs(JOB)) * (len(FILES) + 1)


@pytest.mark.parametrize("kind", ["refuse", "lose", "hang", "tear"])
@pytest.mark.parametrize("part", ["generator", "manifest", "ledgers", "latest"])
def test_an_outage_in_the_middle_leaves_latest_good(
    store: CheckpointStore, endpoint: Endpoint, kind: Kind, part: str
) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    with endpoint.fault(kind, "PUT", part), pytest.raises((Unreachable, TimeoutError)):
        store.publish(records.manifest(JOB, 2), FILES)
    latest = store.latest()
    assert latest in (ONE, TWO)
    check_whole(store, latest, *(each.checkpoint for each in store.manifests()))
    store.publish(records.manifest(JOB, 2), FILES)
    assert store.latest() == TWO
    check_whole(store, ONE, TWO)
    store.take(JOB, 2)
    assert len(objects(store)) == 5 + 2 * (len(FILES) + 1)


@pytest.mark.parametrize("ask", [CheckpointStore.latest, CheckpointStore.manifests, CheckpointStore.highest_fence])
def test_what_cannot_be_read_just_now_is_not_taken_for_absent(
    store: CheckpointStore, endpoint: Endpoint, ask: Callable[[CheckpointStore], object]
) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    with endpoint.fault("refuse"), pytest.raises(Unreachable):
        ask(store)


def test_an_upload_whose_end_is_not_confirmed_is_made_again(store: CheckpointStore, endpoint: Endpoint) -> None:
    """It is then called off, which is too late: there is no such upload. That is not a bucket that is missing."""
    large = b"state" * 3_000_000  # several parts
    with endpoint.fault("tear", "POST", skip=1, times=1) as fault, pytest.raises(Unreachable, match="unknown outcome"):
        store.save_state(JOB, large)
    assert fault.happened == 1
    store.save_state(JOB, large)
    assert store.load_state(JOB) == large


def test_a_torn_answer_is_no_file(store: CheckpointStore, endpoint: Endpoint) -> None:
    found = store.publish(records.manifest(JOB, 1, fence=0), {GENERATOR: bytes(2_000_000)})
    with endpoint.fault("tear", "GET", GENERATOR, times=1) as fault:
        assert store.read(found, GENERATOR) == bytes(2_000_000)
        assert fault.happened == 1


# ----------------------------------------------------------------------------
# Superseded.


def write_late(address: str, endpoint: Endpoint, tmp_path: Path, part: str) -> tuple[CheckpointStore, list[Superseded]]:
    """Let a request of a publication arrive after another has taken the job over, whose store is returned."""
    zombie, heir = open_store(address, tmp_path / "zombie", seconds=20), open_store(address, tmp_path / "heir")
    zombie.take(JOB, 1)
    zombie.publish(records.manifest(JOB, 1), FILES)
    told: list[Superseded] = []

    def publish() -> None:
        try:
            zombie.publish(records.manifest(JOB, 2), FILES)
        except Superseded as error:
            told.append(error)

    with endpoint.fault("hold", "PUT", part, times=1) as fault:
        thread = threading.Thread(target=publish)
        thread.start()
        assert fault.began.wait(20)
        heir.take(JOB, 2)
        fault.released.set()
        thread.join(30)
    return heir, told


@pytest.mark.parametrize("part", ["ledgers", "manifest"])
def test_a_write_that_arrives_after_the_job_was_taken_over_publishes_nothing(
    address: str, endpoint: Endpoint, tmp_path: Path, part: str
) -> None:
    """The request was on its way, its token the highest when it was sent."""
    heir, told = write_late(address, endpoint, tmp_path, part)
    assert len(told) == 1
    assert heir.epochs(JOB) == [1]
    assert heir.latest() == ONE
    heir.publish(records.manifest(JOB, 2, fence=2), FILES)
    assert heir.manifest(TWO).fence == 2
    check_whole(heir, ONE, TWO)


def test_without_conditions_a_late_write_would_publish_and_lower_the_fence(
    address: str, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ObjectShelf._put
    monkeypatch.setattr(ObjectShelf, "_put", lambda shelf, name, data, _mode="overwrite": put(shelf, name, data))
    heir, told = write_late(address, endpoint, tmp_path, "ledgers")
    assert told == []
    assert heir.epochs(JOB) == [1, 2]
    assert heir.shelf.fence(JOB).token == 1


def test_some_that_take_over_at_once_agree_who_did(address: str, endpoint: Endpoint, tmp_path: Path) -> None:
    stores = [open_store(address, tmp_path / str(number), seconds=20) for number in range(4)]
    superseded: list[int] = []

    def take(token: int) -> None:
        try:
            stores[token - 1].take(JOB, token)
        except Superseded:
            superseded.append(token)

    threads = [threading.Thread(target=take, args=(token,)) for token in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 not in superseded
    assert stores[0].highest_fence() == 4
    for token in range(1, 4):
        with pytest.raises(Superseded):
            stores[token - 1].publish(records.manifest(JOB, 1, fence=token), FILES)
    stores[3].publish(records.manifest(JOB, 1, fence=4), FILES)
    assert len(objects(stores[0])) == 5 + len(FILES) + 1


# ----------------------------------------------------------------------------
# What the environment names.


def test_settings_open_what_they_name(address: str, tmp_path: Path) -> None:
    far = WorkerSettings(store=address)
    assert far.is_far
    assert isinstance(far.open_store().shelf, ObjectShelf)
    assert far.open_store().latest() is None
    near = WorkerSettings(store=tmp_path / "folder")
    assert near.open_store().root == near.store_dir == tmp_path / "folder"


@pytest.mark.parametrize("nowhere", ["ftp://digits/1", "http://digits", "s3:/digits"])
def test_what_is_no_address_is_refused(nowhere: str) -> None:
    with pytest.raises(ValueError, match="neither a folder nor one of s3://, gs://, az://"):
        WorkerSettings(store=nowhere)


def test_many_manifests_are_asked_for_once(store: CheckpointStore, endpoint: Endpoint) -> None:
    for epoch in range(1, 6):
        store.publish(records.manifest(JOB, epoch, fence=0), FILES)
    store.manifests()
    endpoint.requests.clear()
    assert [found.epoch for found in store.manifests()] == [1, 2, 3, 4, 5]
    assert len(endpoint.requests) <= 2
