"""Claims of jobs in the store: fence tokens, entries of jobs, and the store's identity. Without torch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from models.bounded_reading import FileInvalid, FileNotUnderstood, FileTooLarge
from models.registry.checkpoint_reader import CheckpointReader
from models.registry.job_entry import ENTRY, IDENTITY, Identity, JobEntry, fingerprint
from models.registry.manifest import FenceRejected, JobConflict, TokensExhausted
from models.registry.pointer import POINTER, Latest, Pointer
from models.registry.storage.base import ArtifactStorage, Fence, FenceDamaged, StoreReplaced
from models.registry.storage.reading import HIGHEST_TOKEN, TOKEN_BYTES, parse_token, read_bytes, read_record, seal

FENCE = "fence"
DELETED = "deleted"


class JobClaims(CheckpointReader):
    def __init__(self, place: ArtifactStorage | Path) -> None:
        super().__init__(place)
        self._identity: str | None = None
        self._entries: dict[str, JobEntry] = {}

    def take(
        self,
        job: str,
        fence: int,
        computes: str | None = None,
        has_results: bool = False,
        accepted_later: Sequence[str] = (),
        identity: str | None = None,
    ) -> None:
        """Claim the job. Later writes with a lower token are rejected, and unfinished ones are deleted.

        `computes` is the job's fingerprint. `has_results` is true if the job's record names checkpoints or a state: a
        store without the job is then an error and is not initialised. `accepted_later` are jobs that were accepted
        after this one: they count as newer, even if they were claimed earlier. `identity` is that of the store in which
        other jobs were claimed: a store with another identity is an error, and no new store is created.
        Raises FenceRejected, JobConflict, TokensExhausted, Unreadable, StoreReplaced and other OSErrors.
        """
        check_token(fence)
        self._identity = self._identity or identity

        def step() -> None:
            held = self._fence_to_raise(job, fence)
            if self._is_new(job, held) and 0 < fence <= self._deleted_of(self._read_root(DELETED)):
                raise FenceRejected(
                    f"a worker must claim job {job} again, unless it was deleted: token {fence} is too old"
                )
            if has_results and self._is_new(job, held):
                raise StoreReplaced(
                    f"the store has no files of job {job}, whose record names checkpoints: it was emptied, replaced, "
                    "or is not mounted"
                )
            self.check_identity(create=True)
            self._enter(job, computes, accepted_later=accepted_later)
            self.storage.raise_fence(job, fence, held)
            self._raise_highest(fence)
            self.storage.sweep(job)

        self.storage.alone(step)

    def _fence_to_raise(self, job: str, token: int) -> Fence:
        try:
            held = self.storage.fence(job)
        except FenceDamaged:
            held = Fence(max((each.fence for each in self.manifests(job)), default=0))
        if held.token > token:
            self._raise_highest(held.token)  # so that the next claim gets a higher one
            raise FenceRejected(f"another worker has taken job {job} over")
        return held

    def _raise_highest(self, fence: int) -> None:
        self.storage.change(FENCE, lambda old: str(fence).encode() if fence > self._highest_of(old) else None)

    def highest_fence(self) -> int:
        """Return the highest token that was issued for this store; 0 before the first claim. Raises Unreadable."""
        return self._highest_of(self._read_root(FENCE))

    def _read_root(self, name: str) -> bytes | None:
        """Read a token file. Returns None if it does not exist, b"" if it is too large. Raises Unreadable."""
        try:
            return read_bytes(self.storage, name, TOKEN_BYTES)
        except FileNotFoundError:
            return None
        except FileTooLarge:
            return b""

    def _deleted_of(self, data: bytes | None) -> int:
        """Return the highest token of all deleted jobs; if its file is damaged, the highest token ever issued."""
        try:
            return 0 if data is None else parse_token(data, DELETED)
        except FenceDamaged:
            return self.highest_fence()

    def _deleted_with(self, token: int, old: bytes | None) -> bytes | None:
        new = str(max(token, self._deleted_of(old))).encode()
        return None if new in (b"0", old) else new

    def hide_deleted(self, job: str, token: int) -> None:
        """Make a job invisible and reject its claims. Call this only inside a step of `alone`. Raises OSError.

        `token` is that of the job's last claim. A worker with this claim or an older one is rejected: the store keeps
        no file of the job, only the highest token of all deleted jobs.
        """
        try:
            token = max(token, self.storage.fence(job).token)
        except FenceDamaged:
            token = max([token, *(each.fence for each in self.manifests(job))])
        self._raise_highest(token)
        self.storage.change(DELETED, lambda old: self._deleted_with(token, old))
        self._entries.pop(job, None)
        self.storage.hide_job(job)

    @contextmanager
    def _cleared(self, job: str) -> Iterator[None]:
        """If the block's write is rejected because the job was deleted meanwhile, delete the written files."""
        try:
            yield
        except FenceRejected:
            with suppress(OSError):  # the worker repeats this when it leaves the job
                self.clear_unknown(job)
            raise

    def clear_unknown(self, job: str) -> None:
        """Delete late writes for a job that was deleted. Does nothing for a job that is in the store."""

        def step() -> bool:
            names = self.storage.names(job)
            is_known = ENTRY in names or FENCE in names or not self._is_new(job, self.storage.fence(job))
            if not is_known:
                self._entries.pop(job, None)
                self.storage.hide_job(job)
            return is_known

        if not self.storage.alone(step):
            self.storage.clear_job(job)

    def _highest_of(self, data: bytes | None) -> int:
        """Parse the store's fence. If it is missing or damaged, return the highest fence of its jobs."""
        try:
            if data is not None:
                return parse_token(data, FENCE)
        except FenceDamaged:
            pass
        manifests = self.manifests()
        tokens = [manifest.fence for manifest in manifests]
        for job in {folder.job for folder in self.storage.folders()}:
            try:
                tokens.append(self.storage.fence(job).token)
            except FenceDamaged:
                continue
        return max((token for token in tokens if token <= HIGHEST_TOKEN), default=0)

    @property
    def identity(self) -> str | None:
        """The identity of the store when it was last read."""
        return self._identity

    def check_identity(self, create: bool = False) -> str | None:
        """Compare the identity of the store with that of the last call. Returns the fault of its file, or None.

        Raises StoreReplaced if it is another store, and OSError.
        """
        try:
            found = read_record(self.storage, IDENTITY, Identity).id
        except FileNotFoundError:
            found = None
        except FileInvalid as error:
            return f"the store cannot be recognised: {error}"
        if found is None and self._identity is None and create:
            self.storage.change(IDENTITY, lambda old: seal(Identity.new()) if old is None else None)
            found = read_record(self.storage, IDENTITY, Identity).id
        if self._identity is not None and found != self._identity:
            what = (
                "no longer has an identity: it was emptied"
                if found is None
                else "has another identity (restart to use it)"
            )
            raise StoreReplaced(f"the store {what}, or another one is mounted in its place")
        self._identity = found
        return None

    def _has_identity(self) -> bool:
        try:
            return bool(read_bytes(self.storage, IDENTITY))
        except FileNotFoundError:
            return False

    def _is_new(self, job: str, held: Fence) -> bool:
        return held.token == 0 and not self.storage.folders(job)

    def _enter(
        self,
        job: str,
        computes: str | None,
        checksum: str | None = None,
        accepted_later: Sequence[str] = (),
    ) -> JobEntry:
        """Return the job's entry, and create it if needed. Raises JobConflict if config or training data differ."""
        known = self._entry(job)
        before = known or self._first_entry(job, accepted_later)
        after = before.completed(computes, checksum)
        if computes not in (None, after.fingerprint):
            raise JobConflict(f"another job has the id {job}: its config differs from what the store holds for this id")
        if checksum not in (None, after.dataset_checksum):
            raise JobConflict(
                f"job {job} began with training data of checksum {after.dataset_checksum}, and now has {checksum}: "
                "provide the data that it began with, or start a new run"
            )
        if after != known:
            self.storage.change(f"{job}/{ENTRY}", lambda old: seal(after) if known or old is None else None)
            if known is None:
                self._move_pointer(lambda latest: latest.pointer(max(self._number_of(latest), after.number)))
                return self._enter(job, computes, checksum)  # another process may have created it
        self._entries[job] = after
        return after

    def _entry(self, job: str) -> JobEntry | None:
        try:
            return self._entries.get(job) or read_record(self.storage, f"{job}/{ENTRY}", JobEntry)
        except FileNotFoundError:
            return None
        except FileNotUnderstood as error:
            raise JobConflict(
                f"job {job} belongs to another version of acgan, and its files are kept: {error}"
            ) from error
        except FileInvalid:
            self.storage.delete(f"{job}/{ENTRY}")
            return None

    def _number_of_job(self, job: str) -> int | None:
        """Return the number of a job; 0 if it has checkpoints of an earlier version, None if it has no number yet.

        Also returns None if a newer version claimed it and this version does not understand its entry.
        """
        try:
            entry = self._entry(job)
        except JobConflict:
            return None
        number = 0 if entry is None else entry.number
        return number or (0 if self.manifests(job) else None)

    def _first_entry(self, job: str, accepted_later: Sequence[str]) -> JobEntry:
        """Return the entry of a job without one: of a new job, of one that an earlier version began, or a lost entry.

        Only checkpoints show that an earlier version began it. Other folders of a job may exist before its first claim:
        that of a file that a user sent.
        """
        for manifest in self.manifests(job):
            return JobEntry(
                number=manifest.job_number or 0,
                fingerprint=fingerprint(manifest.config),
                dataset_checksum=manifest.dataset_checksum,
            )
        claimed = [number for later in accepted_later if (number := self._number_of_job(later)) is not None]
        return JobEntry(number=min(claimed, default=self._number_of(self.find_latest()) + 1))

    def _move_pointer(self, move: Callable[[Latest], Pointer]) -> None:
        def change(old: bytes | None) -> bytes | None:
            latest = self._interpret(old)
            if latest.foreign:
                return None
            pointer = move(latest)
            is_same = latest.trouble is None and latest.number == pointer.number
            return None if is_same and pointer == latest.pointer(pointer.number) else seal(pointer)

        self.storage.change(POINTER, change)

    def _not_taken_over(self, job: str, token: int) -> Fence:
        """Return the fence if it is not higher than `token`. Raises FenceRejected, OSError."""
        try:
            fence = self.storage.fence(job)
        except FenceDamaged as error:
            raise FenceRejected(f"a worker must claim job {job} again: {error}") from error
        if fence.token > token:
            raise FenceRejected(f"another worker has taken job {job} over")
        return fence

    def _held(self, job: str, token: int) -> Fence:
        """Return the fence if it equals `token`.

        Raises FenceRejected if a worker must claim the job again, StoreReplaced if the store was emptied or is not
        mounted.
        """
        fence = self._not_taken_over(job, token)
        if fence.token < token and self._has_identity():
            raise FenceRejected(f"the store has token {fence.token} of job {job} instead of {token}: it was replaced")
        if fence.token < token:
            raise StoreReplaced(
                f"the store's fence of job {job} is {fence.token} and should be {token}: the store was emptied, "
                "replaced, or is not mounted"
            )
        return fence


def check_token(token: int) -> None:
    """Raises TokensExhausted if a store does not accept the token."""
    if token > HIGHEST_TOKEN:
        raise TokensExhausted(
            f"the fence token {token} is higher than {HIGHEST_TOKEN}, the highest that a store accepts: the counter "
            "acgan:fence in Redis was damaged. Stop the workers and set it to the number in the store's file `fence`"
        )
