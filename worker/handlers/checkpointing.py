"""Writes a run to the store: a checkpoint per epoch, and a state from which the run resumes after a stop.

A thread writes the checkpoint while the next epoch is trained. A state is saved only after every earlier epoch has been
published and recorded: otherwise a run that resumes from it would lose an epoch.
"""

import logging
import time
from collections.abc import Callable
from functools import partial

from models.bounded_reading import printable
from models.evaluation.epoch_snapshot import EpochSnapshot, snapshot_epoch
from models.evaluation.quality_gate import QualityGate
from models.networks.weights import state_to_bytes
from models.records import EpochResult
from models.registry.resume_states import not_understood
from models.registry.storage.base import Unreachable
from models.registry.store import (
    AVERAGE,
    DISCRIMINATOR,
    GENERATOR,
    SAMPLES,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    Manifest,
)
from models.sampling.png import encode_png
from models.torch_device import describe
from models.training import training_state
from models.training.background_writer import BackgroundWriter
from models.training.trainer import Trainer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import EpochRecord
from worker.lifecycle.checkpoint_verification import MOST_NAMED
from worker.lifecycle.context import JobContext
from worker.observability import metrics, tracing
from worker.observability.background_loops import Supervisor

logger = logging.getLogger(__name__)

EPOCH_WRITER = "epoch writer"
MISSING_STATE = "its record names finished epochs or a saved state, but the store has no saved state"
WRITE_SECONDS = 120.0  # for the publication of one epoch; a writer that takes longer counts as stuck


class CheckpointPublisher:
    def __init__(self, context: JobContext, trainer: Trainer, gate: QualityGate | None = None) -> None:
        """Without a quality gate, digits are not judged: they have no metrics, and every generator is served."""
        self.context = context
        self.trainer = trainer
        self.gate = gate
        self.job_id = context.job.id
        self.store = context.storage
        self.saved_at = time.monotonic()
        self.writer = BackgroundWriter()
        self.supervisor = Supervisor()
        self.writing = self.supervisor.watch(EPOCH_WRITER, WRITE_SECONDS)

    def __enter__(self) -> "CheckpointPublisher":
        """While this context is active, the report of background loops includes the writer thread."""
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    def start_to_publish(self, result: EpochResult, publish: Callable[[EpochSnapshot], None]) -> None:
        """Judge the epoch's digits and call `publish` on the writer thread. Raises the error of an earlier `publish`,
        and what `JobContext.check` raises while the digits are judged: a state that is saved then is one from which
        this epoch is tested and judged again.

        `publish` must also record the epoch: after it returns, states of later epochs may be saved.
        """
        with tracing.span("snapshot"):
            snapshot = snapshot_epoch(self.trainer, result, self.gate, self.context.check)

        def write() -> None:
            with self.writing.working(), tracing.span("publish", {tracing.EPOCH: result.epoch}):
                publish(snapshot)

        self.writer.start(write)

    def publish(self, snapshot: EpochSnapshot) -> Manifest:
        """Write an epoch's checkpoint. Uses no device. Raises LeaseLost, FenceRejected, OSError."""
        began = time.monotonic()
        manifest, files = self.manifest(snapshot), files_of(snapshot)
        self.context.lease.check_held()
        published = self.store.publish(manifest, files)
        metrics.tell(metrics.PUBLISH_SECONDS, snapshot.seconds + time.monotonic() - began)
        return published

    def manifest(self, snapshot: EpochSnapshot) -> Manifest:
        trainer, result, verdict = self.trainer, snapshot.result, snapshot.verdict
        return Manifest.for_epoch(
            CheckpointId(self.job_id, result.epoch),
            trainer.config,
            trainer.dataset.checksum,
            describe(trainer.device),
            result.losses,
            verdict.metrics,
            seconds=result.seconds,
            draws=AVERAGE if verdict.averaged else GENERATOR,
            refused=verdict.refused,
            warnings=trainer.warnings,
            fence=self.context.claim.fence,
            classes=trainer.dataset.classes,
        )

    def restore(self) -> list[EpochRecord]:
        """Resume from the last saved state, if there is one. Returns earlier epochs that the job's record has lost.

        If the state cannot be used, or the store has none although the record names epochs or a state, the run restarts
        from the beginning, with a warning. Epochs that the record has lost and whose checkpoints cannot be read stay
        missing, with a warning. Raises Unreachable, StateDeleted, StateNotUnderstood, and what `JobContext.check`
        raises.
        """
        try:
            data = self.store.load_state(self.job_id)
            if data is None:
                if self.context.claim.has_results:
                    self.start_again(MISSING_STATE)
                return []
            state = self.parse_state(data)
            where = state.position
            lost, missing = self.lost_before(where.epoch)
            self.trainer.load_state(state)
            logger.info("job %s resumes after iteration %d of epoch %d", self.job_id, where.iteration, where.epoch)
        except Unreachable:
            raise
        except (CheckpointDamaged, training_state.InvalidState, OSError) as error:
            self.start_again(f"its saved state cannot be used: {error}")
            return []
        if missing:
            self.warn_of(missing)
        return lost

    def start_again(self, reason: str) -> None:
        """Log that the run restarts from the beginning, and add this to its warnings."""
        again = f"restarted from the beginning, because {reason}"
        logger.warning("job %s %s", self.job_id, again)
        self.trainer.warnings.append(again)

    def parse_state(self, data: bytes) -> training_state.State:
        """Parse a state whose checksum was verified. Raises StateNotUnderstood if another version wrote it."""
        try:
            return training_state.from_bytes(data)
        except training_state.InvalidState as error:
            raise not_understood(self.job_id, str(error)) from error

    def lost_before(self, epoch: int) -> tuple[list[EpochRecord], list[str]]:
        """Read earlier epochs that are missing in the record from their checkpoints.

        They are missing if Redis restarted with older data. Returns their records, and a sentence for each epoch whose
        checkpoint cannot be read: it is damaged, or was deleted to stay within ACGAN_STORE_LIMIT. Raises Unreachable,
        and other OSErrors.
        """
        reported = self.context.claim.reported
        records, missing = list[EpochRecord](), list[str]()
        for number in (number for number in range(1, epoch) if number not in reported):
            try:
                records.append(record_of(self.store.manifest(CheckpointId(self.job_id, number))))
            except (CheckpointDamaged, CheckpointNotFound) as error:
                missing.append(f"epoch {number}: {error}")
        return records, missing

    def warn_of(self, missing: list[str]) -> None:
        """Log the epochs that stay missing in the record, and add them to the record's warnings.

        `missing` has a sentence for each. Raises what `JobContext.check` raises.
        """
        more = f"; and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        faults = "; ".join(missing[:MOST_NAMED])
        warning = printable(f"the record lacks epochs whose checkpoints cannot be read: {faults}{more}")
        logger.warning("job %s: %s", self.job_id, warning)
        self.context.record(partial(self.context.jobs.add_warning, self.context.claim, warning))

    def is_save_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.context.settings.save_seconds

    def save(self) -> None:
        """Wait until every earlier epoch is recorded, then save the run's state. If the store cannot write the state,
        log this and keep the previous one. Raises LeaseLost, FenceRejected, and the error of a failed publication; then
        the state is not saved.
        """
        with tracing.span("save state"):
            self._save()

    def _save(self) -> None:
        self.writer.wait()
        began = time.monotonic()
        state = self.trainer.state()
        self.context.lease.check_held()
        try:
            self.store.save_state(self.job_id, training_state.to_bytes(state), self.context.claim.fence)
            metrics.tell(metrics.SAVE_SECONDS, time.monotonic() - began)
            self.context.jobs.saved(self.context.claim, state.position.epoch, state.position.iteration)
        except OSError as error:
            metrics.tell(metrics.SAVES_FAILED)
            logger.warning("job %s: its state could not be saved: %s", self.job_id, error)
        except StoreUnavailable as error:
            logger.warning("job %s: its state is saved, but Redis could not record this: %s", self.job_id, error)
        self.saved_at = time.monotonic()


def files_of(snapshot: EpochSnapshot) -> dict[str, bytes]:
    return {
        GENERATOR: state_to_bytes(snapshot.generator),
        AVERAGE: state_to_bytes(snapshot.average),
        DISCRIMINATOR: state_to_bytes(snapshot.discriminator),
        SAMPLES: encode_png(snapshot.plot),
    }


def record_of(manifest: Manifest) -> EpochRecord:
    """Build the record of an epoch from the manifest of its checkpoint."""
    assert manifest.losses is not None, "checkpoints of a job have losses"
    return EpochRecord(
        epoch=manifest.epoch,
        seconds=manifest.seconds,
        losses=manifest.losses,
        checkpoint=manifest.id,
        metrics=manifest.metrics,
        refused=manifest.refused,
    )
