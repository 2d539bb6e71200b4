"""Resume states: the last one of each job. `resume.json` names the file. Both may be deleted to stay in the budget."""

import re
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from models.bounded_reading import FileInvalid, FileNotUnderstood, printable
from models.registry.claims import JobClaims
from models.registry.manifest import CheckpointDamaged, FileRecord, StateDeleted, StateNotUnderstood
from models.registry.storage.reading import read_bytes, read_record, seal

RESUME = "resume.json"
STATE_FILE = re.compile(r"resume-.*\.safetensors")


class StateRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str = ""
    size: int = 0
    deleted: bool = False


class ResumeStates(JobClaims):
    def save_state(self, job: str, data: bytes, fence: int | None = None) -> None:
        """Replace the saved state of a run.

        Raises OSError, StoreReplaced, FenceRejected; the previous state then stays.
        """
        record = FileRecord.of(data)
        name = f"resume-{record.sha256[:16]}.safetensors"
        if fence is not None:
            self._held(job, fence)
        self.storage.write(f"{job}/{name}", data)

        def step() -> None:
            if fence is not None:
                self._held(job, fence)
            self.storage.write(f"{job}/{RESUME}", seal(StateRecord(sha256=record.sha256, size=record.size)))
            self._delete_states(job, but=name)

        with self._cleared(job):
            self.storage.alone(step)

    def load_state(self, job: str) -> bytes | None:
        """Return the saved state; None if there is none.

        Raises CheckpointDamaged, StateDeleted, StateNotUnderstood, Unreadable.
        """
        record = self.check_state(job)
        if record is None:
            return None
        try:
            data = read_bytes(self.storage, f"{job}/resume-{record.sha256[:16]}.safetensors", record.size)
        except FileNotFoundError:
            raise CheckpointDamaged(f"the resume state of {job} is missing, although {RESUME} refers to it") from None
        except FileInvalid as error:
            raise CheckpointDamaged(f"the resume state of {job} is damaged: {error}") from error
        if FileRecord.of(data) != FileRecord(sha256=record.sha256, size=record.size):
            raise CheckpointDamaged(f"the resume state of {job} is damaged: its checksum differs")
        return data

    def check_state(self, job: str) -> StateRecord | None:
        """Return the record of the state; None if there is none.

        Raises StateDeleted, StateNotUnderstood, CheckpointDamaged, Unreadable.
        """
        record = self._state_record(job)
        if record is not None and record.deleted:
            raise StateDeleted(f"the resume state of {job} was deleted to stay within ACGAN_STORE_LIMIT", job=job)
        return record

    def _state_record(self, job: str) -> StateRecord | None:
        try:
            return self._read_state_record(job)
        except FileNotFoundError:
            return None
        except FileNotUnderstood as error:
            raise not_understood(job, str(error)) from error
        except FileInvalid as error:
            raise CheckpointDamaged(f"the resume state of {job} cannot be found: {RESUME} is damaged") from error

    def _read_state_record(self, job: str) -> StateRecord:
        return read_record(self.storage, f"{job}/{RESUME}", StateRecord)

    def drop_state(self, job: str) -> None:
        """Delete the state of a job that has succeeded."""
        self.storage.delete(f"{job}/{RESUME}")
        self._delete_states(job)

    def delete_state(self, job: str, is_unused: Callable[[], bool] = lambda: True) -> bool:
        """Delete the state of a job that failed or was cancelled, and record that it was deleted.

        Does nothing if `is_unused` is false, which is called immediately before, while no state can be saved. Returns
        whether the state was deleted. Raises OSError, and what `is_unused` raises.
        """

        def step() -> bool:
            if not is_unused():
                return False
            self.storage.write(f"{job}/{RESUME}", seal(StateRecord(deleted=True)))
            self._delete_states(job)
            return True

        return self.storage.alone(step)

    def _delete_states(self, job: str, but: str = "") -> None:
        for name in self.storage.names(job):
            if STATE_FILE.fullmatch(name) and name != but:
                self.storage.delete(f"{job}/{name}")


def not_understood(job: str, reason: str) -> StateNotUnderstood:
    """Return the error for a resume state that is intact, but that this version cannot read."""
    return StateNotUnderstood(
        f"the resume state of {job} was saved by another version of acgan, and this version does not understand it "
        f"({printable(reason)}). The state is kept: resume the job with that version, or run its recipe again",
        job=job,
    )
