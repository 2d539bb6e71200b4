"""Storage in S3, Google Cloud Storage or Azure, through obstore. Uses conditional writes instead of locks.

    ledgers/<job>.json                       the job's fence, and the prefix of the objects of each folder
    <job>/<folder>.<token>.<chance>/<name>   files of a folder, under names that are used once
    <job>/<name>, <name>                     files

An entry in the job's ledger places a folder. The ledger is replaced only if it has not changed since it was read
(If-Match): after the fence is raised, every write with a lower token fails, also one that was sent before.
"""

import errno
import math
import random
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import obstore
from pydantic import ValidationError

from models.bounded_reading import FileTooLarge
from models.proxies import exempt_this_machine
from models.registry.storage.background_call import watched
from models.registry.storage.base import MANIFEST, Fence, Folder, Result, StoredFile, Unreachable
from models.registry.storage.cache import Cache
from models.registry.storage.ledger import LEDGERS, Known, Ledger, Seen, stored_file
from models.registry.storage.obstore_errors import Changed, asking, connect
from models.registry.storage.reading import RECORD_BYTES, Unreadable

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

AT_ONCE = 8  # requests
PARTS_AT_ONCE = 4  # of 5 MB each: they share the bandwidth, and each has a time limit
PATIENCE_SECONDS = 60.0  # for other writers of the same file
FRESH_SECONDS = 1.0  # for which a ledger is reused for reads: the objects that it names never change
PAUSE_SECONDS = 0.02  # longest wait before the first retry after a conflict; doubled each time


class ObjectStorage:
    def __init__(self, objects: "ObjectStore", cache: Cache, workshops: Path) -> None:
        """`workshops` is a folder on this machine in which large files are made."""
        self.objects = objects
        self.cache = cache
        self.workshops = workshops
        self._known: dict[str, Known] = {}  # by job
        self._leftovers: list[str] = []
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects")

    @classmethod
    def connect(cls, address: str, seconds: float, cache: Cache, workshops: Path) -> "ObjectStorage":
        """Open `address`, such as `s3://bucket/prefix`, without a request. obstore finds the credentials.

        A request fails, with its retries, after `seconds`.
        """
        exempt_this_machine()  # an endpoint on this machine is reached without a proxy
        return cls(connect(address, seconds), cache, workshops)

    # ----------------------------------------------------------------------------
    # Files.

    def read(self, name: str, start: int = 0, end: int | None = None, limit: int | None = None) -> bytes:
        whole = start == 0 and end is None
        key = self._key(name, FRESH_SECONDS if whole else math.inf)
        kept = None
        if _is_in_folder(name):
            kept = self.cache.get(key, limit) if whole else self.cache.part(key, start, end)
        return self._fetch(name, key, start, end, limit) if kept is None else kept

    def read_each(self, folders: list[Folder], name: str, limit: int) -> list[tuple[Folder, bytes | OSError]]:
        def read(folder: Folder) -> tuple[Folder, bytes | OSError] | None:
            try:
                return folder, self.read(f"{folder}/{name}", limit=limit)
            except Unreachable:  # temporarily unreadable, not missing
                raise
            except FileNotFoundError as error:  # removed meanwhile, unless its ledger still lists it
                return (folder, error) if folder in self.folders(folder.job) else None
            except OSError as error:
                return folder, error

        return [found for found in self._threads.map(read, folders) if found is not None]

    def read_again(self, name: str, limit: int | None = None) -> bytes:
        key = self._key(name)
        self.cache.forget(key)
        return self._fetch(name, key, limit=limit)

    def _fetch(self, name: str, key: str, start: int = 0, end: int | None = None, limit: int | None = None) -> bytes:
        with asking(f"{name} cannot be read"):
            if end is not None:
                return bytes(obstore.get_range(self.objects, key, start=start, end=end))
            found = obstore.get(self.objects, key)
        size = found.meta["size"]
        if limit is not None and size > limit:
            raise FileTooLarge(f"{name} has {size:,} bytes, more than the {limit:,} that it may have")
        with asking(f"{name} cannot be read"):
            data = bytes(found.bytes())
        if start == 0 and _is_in_folder(name):
            self.cache.keep(key, data)
        return data[start:]

    def write(self, name: str, data: bytes) -> None:
        self._put(name, data)

    def change(self, name: str, change: Callable[[bytes | None], bytes | None]) -> None:
        def step() -> None:
            old, mode, _ = self._look(name)
            new = change(old)
            if new is not None:
                self._put(name, new, mode)

        self.alone(step)

    def delete(self, name: str) -> None:
        self._delete([name])

    def names(self, job: str) -> list[str]:
        return self._list(job)[1]

    def files(self) -> list[StoredFile]:
        with asking("the store cannot be listed"):
            listed = [meta for page in obstore.list(self.objects) for meta in page]
        places = {(folder.job, place): folder.name for folder, place in self._placed().items()}
        return [stored_file(meta, places) for meta in listed]

    def _placed(self) -> dict[Folder, str]:
        ledgers = {job: self._seen(job).ledger for job in {folder.job for folder in self.folders()}}
        return {Folder(job, name): place for job, ledger in ledgers.items() for name, place in ledger.folders.items()}

    def clear(self, files: list[StoredFile]) -> None:
        self._delete([file.name for file in files if not file.placed])

    # ----------------------------------------------------------------------------
    # Folders.

    def folders(self, job: str | None = None) -> list[Folder]:
        if job is not None:
            return [Folder(job, name) for name in self._seen(job).ledger.folders]
        with asking("the ledgers cannot be listed"):
            found = [meta for page in obstore.list(self.objects, LEDGERS) for meta in page]
        tags = {str(meta["path"]).rpartition("/")[2].removesuffix(".json"): meta["e_tag"] for meta in found}
        ledgers = zip(tags, self._threads.map(self._ledger_as_listed, tags, tags.values()), strict=True)
        return [Folder(each, name) for each, ledger in ledgers for name in ledger.folders]

    def _ledger_as_listed(self, job: str, tag: str | None) -> Ledger:
        known = self._known.get(job)
        if known is None or tag is None or known.tag != tag:
            return self._seen(job).ledger
        self._known[job] = known._replace(at=time.monotonic())
        return known.ledger

    def stage(self, folder: Folder, token: int, files: Mapping[str, bytes | Path]) -> str:
        self._clear_leftovers()
        staged = f"{folder}.{token}.{secrets.token_hex(4)}"
        try:
            others = [(f"{staged}/{name}", data) for name, data in files.items() if name != MANIFEST]
            list(self._threads.map(lambda each: self._put(*each), others))
            if MANIFEST in files:
                self._put(f"{staged}/{MANIFEST}", files[MANIFEST])
        except OSError:
            self.discard(staged)
            raise
        return staged

    def complete(self, staged: str, name: str, data: bytes) -> None:
        self._put(f"{staged}/{name}", data)

    def place(self, staged: str, folder: Folder, fence: Fence) -> None:
        folders, place = _seen_by(fence).ledger.folders, staged.partition("/")[2]
        before = folders.get(folder.name)
        self._write_ledger(folder.job, fence, folders={**folders, folder.name: place})
        if before is not None and before != place:
            self._delete_folder(f"{folder.job}/{before}")

    def discard(self, staged: str) -> None:
        if staged:
            self._leftovers.append(staged)
        self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """Delete discarded files. After an error the next call retries; `sweep` deletes the rest."""
        with suppress(OSError):
            while self._leftovers:
                job, _, place = self._leftovers[-1].partition("/")
                if place not in self._seen(job).ledger.folders.values():
                    self._delete_folder(f"{job}/{place}")
                self._leftovers.pop()

    def remove(self, folder: Folder) -> None:
        def step() -> str | None:
            fence = self.fence(folder.job)
            folders = dict(_seen_by(fence).ledger.folders)
            place = folders.pop(folder.name, None)
            if place is not None:
                self._write_ledger(folder.job, fence, folders=folders)
            return place

        place = self.alone(step)
        if place is not None:
            self._delete_folder(f"{folder.job}/{place}")
        shutil.rmtree(self.workshop(folder), ignore_errors=True)

    def hide_job(self, job: str) -> None:
        fence = self.fence(job)
        self._write_ledger(job, fence, folders={}, token=fence.token + 1)  # no claim has this token

    def clear_job(self, job: str) -> None:
        self._delete_folder(job)
        shutil.rmtree(self.workshops / job, ignore_errors=True)
        self._known.pop(job, None)
        self._delete([f"{LEDGERS}/{job}.json"])

    def sweep(self, job: str) -> None:
        placed = set(self._seen(job).ledger.folders.values())
        for place in self._list(job)[0]:
            if place not in placed:
                self._delete_folder(f"{job}/{place}")

    def incoming(self) -> Path:
        return self.cache.folder.with_name("uploads")

    # ----------------------------------------------------------------------------
    # Exclusive steps: after a conflict the step is repeated.

    def alone(self, step: Callable[[], Result]) -> Result:
        deadline, pause = time.monotonic() + PATIENCE_SECONDS, PAUSE_SECONDS
        while True:
            try:
                return step()
            except Changed as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{error}: other writers changed it for {PATIENCE_SECONDS:.0f} s") from error
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, 1.0)

    def fence(self, job: str) -> Fence:
        seen = self._seen(job)
        return Fence(seen.ledger.token, seen)

    def raise_fence(self, job: str, token: int, fence: Fence) -> None:
        self._write_ledger(job, fence, token=token)

    def _seen(self, job: str) -> Seen:
        data, mode, tag = self._look(f"{LEDGERS}/{job}.json")
        try:
            ledger = Ledger() if data is None else Ledger.model_validate_json(data)
        except ValidationError as error:
            raise Unreadable(f"{LEDGERS}/{job}.json cannot be read: {error.errors()[0]['msg']}") from error
        self._known[job] = Known(tag, ledger, time.monotonic())
        return Seen(ledger, mode)

    def _write_ledger(self, job: str, fence: Fence, **changes: Any) -> None:
        ledger, mode = _seen_by(fence)
        self._known.pop(job, None)
        ledger = ledger.model_copy(update={**changes, "revision": ledger.revision + 1})
        self._put(f"{LEDGERS}/{job}.json", ledger.model_dump_json().encode(), mode)

    def _key(self, name: str, age: float = 0) -> str:
        """Return the key of a file's object. A ledger that was read less than `age` seconds ago is reused."""
        if not _is_in_folder(name):
            return name
        job, folder, file = name.split("/")
        known = self._known.get(job)
        place = known.ledger.folders.get(folder) if known and time.monotonic() - known.at < age else None
        place = place or self._seen(job).ledger.folders.get(folder)
        if place is None:
            raise FileNotFoundError(errno.ENOENT, "no such folder", f"{job}/{folder}")
        return f"{job}/{place}/{file}"

    # ----------------------------------------------------------------------------
    # Folders too large for memory are made on this machine.

    shares_workshops: ClassVar[bool] = False

    def workshop(self, folder: Folder) -> Path:
        return self.workshops / folder.job / folder.name

    def deliver(self, folder: Folder, token: int, held: Callable[[], Fence]) -> None:
        made = self.workshop(folder)
        files = {each.name: each for each in made.iterdir() if each.is_file() and each.name[0] != "."}  # not unfinished
        staged = watched(lambda: self.stage(folder, token, files), held, self.discard)
        try:
            self.alone(lambda: self.place(staged, folder, held()))
        except BaseException:
            self.discard(staged)
            raise
        shutil.rmtree(made, ignore_errors=True)

    # ----------------------------------------------------------------------------
    # Requests.

    def _look(self, name: str) -> tuple[bytes | None, "PutMode", str | None]:
        """Read a file. Returns its bytes, the mode for a write that fails if it has changed, and its ETag."""
        try:
            with asking(f"{name} cannot be read"):
                found = obstore.get(self.objects, name)
                meta = found.meta
                data = bytes(found.bytes()) if meta["size"] <= RECORD_BYTES else b""  # too large: invalid
        except FileNotFoundError:
            return None, "create", None
        mode: UpdateVersion = {}
        if (tag := meta["e_tag"]) is not None:
            mode["e_tag"] = tag
        if (version := meta["version"]) is not None:  # obstore does not accept None here
            mode["version"] = version
        return data, mode, tag

    def _put(self, name: str, data: bytes | Path, mode: "PutMode" = "overwrite") -> None:
        """Write an object. Raises Changed if the condition of `mode` does not hold."""
        try:
            with asking(f"{name} cannot be written"):
                obstore.put(self.objects, name, data, mode=mode, max_concurrency=PARTS_AT_ONCE)
        except FileNotFoundError as error:
            if isinstance(mode, dict):
                raise Changed(name) from error
            if "NoSuchUpload" in str(error):  # it ended, its response was lost, and it could not be aborted
                raise Unreachable(f"{name} cannot be written: its upload ended with an unknown outcome") from error
            raise OSError(errno.ENOENT, f"{name} cannot be written: there is no such bucket") from error

    def _list(self, job: str) -> tuple[list[str], list[str]]:
        """List the prefixes of a job's folders, staged or placed, and its files."""
        with asking(f"{job} cannot be listed"):
            found = obstore.list_with_delimiter(self.objects, job)
        places = [str(prefix).rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]
        return places, [str(meta["path"]).rpartition("/")[2] for meta in found["objects"]]

    def _delete_folder(self, prefix: str) -> None:
        with asking(f"{prefix} cannot be listed"):
            names = [str(meta["path"]) for page in obstore.list(self.objects, prefix) for meta in page]
        self._delete(sorted(names, key=lambda name: not name.endswith(MANIFEST)))

    def _delete(self, names: list[str]) -> None:
        with asking(f"{', '.join(names[:2])} cannot be deleted"), suppress(FileNotFoundError):
            if names:
                obstore.delete(self.objects, names)


def _is_in_folder(name: str) -> bool:
    return name.count("/") == 2


def _seen_by(fence: Fence) -> Seen:
    assert isinstance(fence.seen, Seen)
    return fence.seen
