"""Verification of a job's checkpoints before the record shows how the job ended."""

import logging
import time
from collections.abc import Callable, Iterable

from models.bounded_reading import printable
from models.registry.store import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore

logger = logging.getLogger(__name__)

VERIFY_SECONDS = 30.0  # after which only the manifests of the remaining epochs are read
MOST_NAMED = 3  # faults listed in `trouble`; the others are counted


def find_damage(
    store: CheckpointStore,
    job: str,
    epochs: Iterable[int],
    check: Callable[[], None],
    seconds: float = VERIFY_SECONDS,
    is_urgent: Callable[[], bool] = lambda: False,
) -> str:
    """Verify the checkpoints of these epochs, newest first. Returns a description of the faults, or an empty string.

    Calls `check` before each. If `is_urgent` returns true, the files of the remaining epochs are not read, only their
    manifests. Raises only what `check` raises.
    """
    until, faults = time.monotonic() + seconds, []
    for epoch in sorted(epochs, reverse=True):
        check()
        try:
            verify(store, CheckpointId(job, epoch), whole=time.monotonic() < until and not is_urgent())
        except (CheckpointDamaged, CheckpointNotFound) as error:
            faults.append(printable(f"epoch {epoch}: {error}"))
        except OSError as error:
            faults.append(f"the checkpoints could not be verified: {error}")
            break
    for fault in faults:
        logger.error("job %s: %s", job, fault)
    more = [f"and {len(faults) - MOST_NAMED} more"] if len(faults) > MOST_NAMED else []
    return "; ".join(faults[:MOST_NAMED] + more)


def verify(store: CheckpointStore, checkpoint: CheckpointId, whole: bool) -> None:
    """Verify the manifest and, if `whole`, each file. Raises CheckpointDamaged, CheckpointNotFound, OSError."""
    manifest = store.manifest(checkpoint)
    for name in manifest.files if whole else ():
        store.read(manifest, name)
