"""What a job's run leaves on disk: a checkpoint an epoch, and its state, to resume from after a stop.

A thread writes the checkpoint while the next epoch is trained. A state is saved only when every epoch before it is
published and recorded: a state past an epoch that is not would lose that epoch.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import redis

from models.evaluation.epoch_snapshot import EpochSnapshot, snapshot_epoch
from models.evaluation.quality_gate import Assessor
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
    CheckpointStore,
    Manifest,
)
from models.sampling.images import encode_png
from models.torch_device import describe
from models.training import training_state
from models.training.background_writer import BackgroundWriter
from models.training.trainer import Trainer
from models.version import code_version
from worker.jobs.consumer import JobBench
from worker.jobs.model import EpochRecord
from worker.lifecycle.lease import Lease
from worker.observability import metrics
from worker.observability.background_loops import Supervisor

logger = logging.getLogger(__name__)

EPOCH_WRITER = "epoch writer"
MISSING_STATE = "its record names finished epochs or a saved state, and the store has no saved state of it"
WRITE_SECONDS = 120.0  # for one epoch to be published; after that the writer counts as stuck


class Keeper:
    def __init__(
        self,
        bench: JobBench,
        lease: Lease,
        trainer: Trainer,
        store: CheckpointStore,
        save_seconds: float,
        assessor: Assessor | None = None,
    ) -> None:
        """Without an assessor, digits are not judged: there are no figures, and whatever was trained is served."""
        self.assessor = assessor
        self.save_seconds = save_seconds
        self.bench = bench
        self.lease = lease
        self.job_id = lease.claim.job.id
        self.trainer = trainer
        self.store = store
        self.saved_at = time.monotonic()
        self.writer = BackgroundWriter()
        self.supervisor = Supervisor()
        self.writing = self.supervisor.watch(EPOCH_WRITER, WRITE_SECONDS)

    def __enter__(self) -> "Keeper":
        """Inside, the report of the process shows the writer thread."""
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    def start_to_publish(self, result: EpochResult, publish: Callable[[EpochSnapshot], None]) -> None:
        """Judge what the epoch made, and call `publish` on the writer thread. Raises what an earlier `publish` raised.

        `publish` must also record the epoch: when it has returned, states past the epoch may be saved.
        """
        snapshot = snapshot_epoch(self.trainer, result, self.assessor)

        def write() -> None:
            with self.writing.working():
                publish(snapshot)

        self.writer.start(write)

    def publish(self, snapshot: EpochSnapshot) -> Manifest:
        """Write an epoch's checkpoint. Uses no device. Raises JobLost, Superseded, OSError."""
        began = time.monotonic()
        manifest, files = self.manifest(snapshot), files_of(snapshot)
        self.lease.check_held()
        published = self.store.publish(manifest, files)
        metrics.tell(metrics.PUBLISH_SECONDS, snapshot.seconds + time.monotonic() - began)
        return published

    def manifest(self, snapshot: EpochSnapshot) -> Manifest:
        trainer, result, verdict = self.trainer, snapshot.result, snapshot.verdict
        return Manifest(
            id=str(CheckpointId(self.job_id, result.epoch)),
            job=self.job_id,
            epoch=result.epoch,
            created_at=datetime.now(UTC),
            config=trainer.config,
            seconds=result.seconds,
            losses=result.losses,
            metrics=verdict.metrics,
            draws=AVERAGE if verdict.averaged else GENERATOR,
            refused=verdict.refused,
            dataset_checksum=trainer.dataset.checksum,
            device=describe(trainer.device),
            code_version=code_version(),
            warnings=list(trainer.warnings),
            fence=self.lease.claim.fence,
            files={},
        )

    def restore(self) -> list[EpochRecord]:
        """Go on where an earlier attempt stopped. Returns the epochs before that which the job's record has lost.

        If the state cannot be used, or the record names epochs or a state and the store has no state, the run starts
        again from its beginning, and its warnings say so. Raises Unreachable, StateDeleted, StateNotUnderstood.
        """
        try:
            data = self.store.load_state(self.job_id)
            if data is None:
                if self.lease.claim.has_results:
                    self.start_again(MISSING_STATE)
                return []
            state = self.parse_state(data)
            where = state.position
            lost = self.lost_before(where.epoch)
            self.trainer.load_state(state)
            logger.info("job %s goes on after iteration %d of epoch %d", self.job_id, where.iteration, where.epoch)
            return lost
        except Unreachable:
            raise
        except (CheckpointDamaged, CheckpointNotFound, training_state.InvalidState, OSError) as error:
            self.start_again(f"its saved state cannot be used: {error}")
            return []

    def start_again(self, reason: str) -> None:
        """Note in the log and in the run's warnings that it starts again from its beginning."""
        again = f"started again from the beginning, because {reason}"
        logger.warning("job %s %s", self.job_id, again)
        self.trainer.warnings.append(again)

    def parse_state(self, data: bytes) -> training_state.State:
        """Parse a state whose checksum was verified. Raises StateNotUnderstood if another version wrote it."""
        try:
            return training_state.from_bytes(data)
        except training_state.InvalidState as error:
            raise not_understood(self.job_id, str(error)) from error

    def lost_before(self, epoch: int) -> list[EpochRecord]:
        """Read from their checkpoints what a Redis that came back older no longer tells of earlier epochs.

        Raises CheckpointDamaged, CheckpointNotFound.
        """
        told = self.lease.claim.told
        lost = (CheckpointId(self.job_id, number) for number in range(1, epoch) if number not in told)
        manifests = [self.store.manifest(checkpoint) for checkpoint in lost]
        return [record_of(manifest) for manifest in manifests]

    def save_now_and_then(self) -> None:
        if time.monotonic() - self.saved_at >= self.save_seconds:
            self.save()

    def save(self) -> None:
        """Save the run's state after every epoch before it was recorded. A disk that refuses costs what was done since
        the last time.

        Raises JobLost, Superseded, and what publishing raised: no state is saved after that.
        """
        self.writer.wait()
        began = time.monotonic()
        state = self.trainer.state()
        self.lease.check_held()
        try:
            self.store.save_state(self.job_id, training_state.to_bytes(state), self.lease.claim.fence)
            metrics.tell(metrics.SAVE_SECONDS, time.monotonic() - began)
            self.bench.saved(self.lease.claim, state.position.epoch, state.position.iteration)
        except OSError as error:
            metrics.tell(metrics.SAVES_FAILED)
            logger.warning("job %s: its state could not be kept: %s", self.job_id, error)
        except redis.RedisError as error:
            logger.warning("job %s: its state is kept, but Redis could not be told: %s", self.job_id, error)
        self.saved_at = time.monotonic()


def files_of(snapshot: EpochSnapshot) -> dict[str, bytes]:
    return {
        GENERATOR: state_to_bytes(snapshot.generator),
        AVERAGE: state_to_bytes(snapshot.average),
        DISCRIMINATOR: state_to_bytes(snapshot.discriminator),
        SAMPLES: encode_png(snapshot.plot),
    }


def record_of(manifest: Manifest) -> EpochRecord:
    """Tell an epoch as the job does, from its checkpoint."""
    assert manifest.losses is not None, "a job's own checkpoints have their losses"
    return EpochRecord(
        epoch=manifest.epoch,
        seconds=manifest.seconds,
        losses=manifest.losses,
        checkpoint=manifest.id,
        metrics=manifest.metrics,
        refused=manifest.refused,
    )
