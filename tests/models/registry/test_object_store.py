"""Object storage that fails, and late writes of a worker without its lease: over a real S3 endpoint."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from models.registry.retention import apply_retention
from models.registry.storage.base import Unreachable
from models.registry.storage.cache import Cache
from models.registry.storage.object_store import ObjectStorage
from models.registry.store import (
    GENERATOR,
    MANIFEST,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    FenceRejected,
)
from tests.support import records
from tests.support.s3_endpoint import PATIENT_SECONDS, Endpoint, Kind, in_haste, open_store
from worker.settings import WorkerSettings

JOB = "20260101-000000-aaaaaa"
FILES = {GENERATOR: b"g" * 600, "discriminator.safetensors": b"d" * 300, "samples.png": b"p" * 100}
ONE, TWO = CheckpointId(JOB, 1), CheckpointId(JOB, 2)


@pytest.fixture
def address(endpoint: Endpoint) -> str:
    return endpoint.address()


@pytest.fixture
def store(address: str, tmp_path: Path) -> CheckpointStore:
    return open_store(address, tmp_path / "here", seconds=PATIENT_SECONDS)


def objects(store: CheckpointStore) -> list[str]:
    assert isinstance(store.storage, ObjectStorage)
    return sorted(str(meta["path"]) for page in obstore.list(store.storage.objects) for meta in page)


def check_whole(store: CheckpointStore, *checkpoints: CheckpointId) -> None:
    for checkpoint in checkpoints:
        found = store.manifest(checkpoint)
        assert {name: store.read(found, name) for name in FILES} == FILES


# ----------------------------------------------------------------------------
# Objects in the bucket.


def test_the_bucket_contains_only_what_is_published(store: CheckpointStore) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    names = [name for name in objects(store) if not name.startswith(f"{JOB}/001.1.")]
    assert names == [f"{JOB}/job.json", "fence", "latest.json", f"ledgers/{JOB}.json", "store.json"]
    assert len(objects(store)) == len(names) + len(FILES) + 1


def test_checkpoints_beyond_the_budget_are_deleted(store: CheckpointStore) -> None:
    for epoch in (1, 2):
        store.publish(records.manifest(JOB, epoch, age_seconds=3600, fence=0), FILES)
    assert apply_retention(store, 0) == [str(ONE)]
    assert not [name for name in objects(store) if name.startswith(f"{JOB}/001")]
    with pytest.raises(CheckpointNotFound):
        store.manifest(ONE)
    check_whole(store, TWO)


def test_the_next_worker_cleans_up_and_keeps_published_checkpoints(store: CheckpointStore) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    before = objects(store)
    store.storage.stage(TWO.folder, 1, {**FILES, MANIFEST: b"{}"})
    assert objects(store) != before
    store.take(JOB, 2)
    assert objects(store) == before
    assert store.highest_fence() == 2


def test_another_machine_resumes(store: CheckpointStore, address: str, tmp_path: Path) -> None:
    large = b"state" * 3_000_000  # several parts
    store.save_state(JOB, b"earlier")
    store.save_state(JOB, large)
    elsewhere = open_store(address, tmp_path / "elsewhere", seconds=PATIENT_SECONDS)
    assert elsewhere.load_state(JOB) == large
    assert len(elsewhere.storage.names(JOB)) == 2
    elsewhere.drop_state(JOB)
    assert store.load_state(JOB) is None
    assert objects(store) == []


def test_invalid_credentials_are_reported(address: str, tmp_path: Path, endpoint: Endpoint) -> None:
    elsewhere = open_store(address.replace("digits", "nobodys"), tmp_path, seconds=PATIENT_SECONDS)
    with pytest.raises(OSError, match="there is no such bucket"):
        elsewhere.publish(records.manifest(JOB, 1, fence=0), FILES)


# ----------------------------------------------------------------------------
# The local cache.


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


def test_a_damaged_object_can_be_replaced_after_it_was_cached(store: CheckpointStore) -> None:
    assert isinstance(store.storage, ObjectStorage)
    found = store.publish(records.manifest(JOB, 1, fence=0), FILES)
    key = store.storage._key(f"{ONE.folder}/{GENERATOR}")
    obstore.put(store.storage.objects, key, b"rubbish")
    for _ in range(2):
        with pytest.raises(CheckpointDamaged):
            store.read(found, GENERATOR)
    obstore.put(store.storage.objects, key, FILES[GENERATOR])
    check_whole(store, ONE)


def test_the_cache_stays_within_its_budget(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    for number in range(10):
        cache.keep(str(number), bytes(300))
        cache.get("0")  # read between the others
    assert cache.get("0") == bytes(300)
    assert cache.get("9") == bytes(300)
    assert cache.get("5") is None
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 1000
    cache.keep("large", bytes(2000))
    assert cache.get("large") is None


def test_an_interruption_leaves_nothing_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.replace", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path / "cache", 1000).keep("one", b"1")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_room_nothing_is_cached(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    cache = Cache(tmp_path / "cache", 1000)
    cache.keep("one", b"1")
    assert cache.get("one") is None


# ----------------------------------------------------------------------------
# Faults of each kind, at every request of a publication.


@pytest.mark.parametrize("kind", ["refuse", "lose", "tear"])
def test_a_request_that_fails_once_is_retried(store: CheckpointStore, endpoint: Endpoint, kind: Kind) -> None:
    """Whether or not it was carried out: nothing is published twice, and no published file is deleted."""
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
def test_an_outage_during_a_publication_leaves_latest_good(
    store: CheckpointStore, address: str, endpoint: Endpoint, kind: Kind, part: str
) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    with endpoint.fault(kind, "PUT", part), in_haste(store, address), pytest.raises((Unreachable, TimeoutError)):
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
def test_an_unreadable_object_is_not_taken_for_absent(
    store: CheckpointStore, address: str, endpoint: Endpoint, ask: Callable[[CheckpointStore], object]
) -> None:
    store.take(JOB, 1)
    store.publish(records.manifest(JOB, 1), FILES)
    with endpoint.fault("refuse"), in_haste(store, address), pytest.raises(Unreachable):
        ask(store)


def test_an_upload_without_a_confirmed_end_is_repeated(store: CheckpointStore, endpoint: Endpoint) -> None:
    """It is then aborted, too late: the upload no longer exists. That does not mean that the bucket is missing."""
    large = b"state" * 3_000_000  # several parts
    with endpoint.fault("tear", "POST", skip=1, times=1) as fault, pytest.raises(Unreachable, match="unknown outcome"):
        store.save_state(JOB, large)
    assert fault.happened == 1
    store.save_state(JOB, large)
    assert store.load_state(JOB) == large


def test_a_truncated_response_is_not_a_file(store: CheckpointStore, endpoint: Endpoint) -> None:
    found = store.publish(records.manifest(JOB, 1, fence=0), {GENERATOR: bytes(2_000_000)})
    with endpoint.fault("tear", "GET", GENERATOR, times=1) as fault:
        assert store.read(found, GENERATOR) == bytes(2_000_000)
        assert fault.happened == 1


# ----------------------------------------------------------------------------
# Workers without their lease.


def write_late(
    address: str, endpoint: Endpoint, tmp_path: Path, part: str
) -> tuple[CheckpointStore, list[FenceRejected]]:
    """Let a request of a publication arrive after another worker took the job over. Returns that worker's store."""
    zombie, heir = (open_store(address, tmp_path / name, seconds=PATIENT_SECONDS) for name in ("zombie", "heir"))
    zombie.take(JOB, 1)
    zombie.publish(records.manifest(JOB, 1), FILES)
    told: list[FenceRejected] = []

    def publish() -> None:
        try:
            zombie.publish(records.manifest(JOB, 2), FILES)
        except FenceRejected as error:
            told.append(error)

    with endpoint.fault("hold", "PUT", part, times=1) as fault:
        thread = threading.Thread(target=publish)
        thread.start()
        assert fault.began.wait(60)
        heir.take(JOB, 2)
        fault.released.set()
        thread.join(60)
    return heir, told


@pytest.mark.parametrize("part", ["ledgers", "manifest"])
def test_a_write_that_arrives_after_the_job_was_taken_over_publishes_nothing(
    address: str, endpoint: Endpoint, tmp_path: Path, part: str
) -> None:
    """The request was sent when its token was still the highest."""
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
    put = ObjectStorage._put
    monkeypatch.setattr(ObjectStorage, "_put", lambda storage, name, data, _mode="overwrite": put(storage, name, data))
    heir, told = write_late(address, endpoint, tmp_path, "ledgers")
    assert told == []
    assert heir.epochs(JOB) == [1, 2]
    assert heir.storage.fence(JOB).token == 1


def test_of_workers_that_take_a_job_over_at_once_the_highest_token_wins(
    address: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    stores = [open_store(address, tmp_path / str(number), seconds=20) for number in range(4)]
    superseded: list[int] = []

    def take(token: int) -> None:
        try:
            stores[token - 1].take(JOB, token)
        except FenceRejected:
            superseded.append(token)

    threads = [threading.Thread(target=take, args=(token,)) for token in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 not in superseded
    assert stores[0].highest_fence() == 4
    for token in range(1, 4):
        with pytest.raises(FenceRejected):
            stores[token - 1].publish(records.manifest(JOB, 1, fence=token), FILES)
    stores[3].publish(records.manifest(JOB, 1, fence=4), FILES)
    assert len(objects(stores[0])) == 5 + len(FILES) + 1


# ----------------------------------------------------------------------------
# The environment.


def test_settings_open_the_store_of_their_address(address: str, tmp_path: Path) -> None:
    far = WorkerSettings(store=address)
    assert far.is_far
    assert isinstance(far.open_store().storage, ObjectStorage)
    assert far.open_store().latest() is None
    near = WorkerSettings(store=tmp_path / "folder")
    assert near.open_store().root == near.store_dir == tmp_path / "folder"


@pytest.mark.parametrize("nowhere", ["ftp://digits/1", "http://digits", "s3:/digits"])
def test_an_invalid_address_is_refused(nowhere: str) -> None:
    with pytest.raises(ValueError, match="neither a folder nor one of s3://, gs://, az://"):
        WorkerSettings(store=nowhere)


def test_a_manifest_is_read_once_for_many_listings(
    store: CheckpointStore, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.registry.storage.object_store.FRESH_SECONDS", 60.0)  # longer than a listing may take
    for epoch in range(1, 6):
        store.publish(records.manifest(JOB, epoch, fence=0), FILES)
    store.manifests()
    endpoint.requests.clear()
    assert [found.epoch for found in store.manifests()] == [1, 2, 3, 4, 5]
    assert len(endpoint.requests) <= 2
