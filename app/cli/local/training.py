"""`acgan train`: trains without a service, like the original Keras script."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pydantic import Field
from rich.console import Console

from app.cli.display.progress import print_epoch, progress_bar, show
from app.cli.local.folder import HISTORY, HISTORY_LIMIT, STATE, STATE_LIMIT, TABLE, FolderTaken, tracked_id
from app.cli.local.stored_data import reader
from app.settings import AppSettings
from models.atomic_files import write_output
from models.bounded_reading import parse_record, printable, read_bounded
from models.config import TrainingConfig
from models.data.dataset import load_dataset
from models.evaluation.epoch_snapshot import EpochSnapshot, snapshot_epoch
from models.evaluation.quality_gate import QualityGate, find_quality_gate, sample_count
from models.networks.weights import load_discriminator, load_generator, state_to_bytes
from models.records import EpochResult, Record, to_csv
from models.records import Progress as RunProgress
from models.sampling.png import encode_png
from models.torch_device import describe, explain_out_of_memory, find_device
from models.training import training_state
from models.training.background_writer import BackgroundWriter
from models.training.trainer import Check, Trainer
from worker.tracking.sender import Shortfall
from worker.tracking.session import TrackingSession
from worker.tracking.tracker import TrackingTarget


class Stopped(Exception):
    """Ctrl-C, SIGTERM or SIGHUP ended the run. Its state is saved."""


class LocalEpoch(EpochResult):
    """A finished epoch in the history."""

    metrics: dict[str, float] = Field({}, description="Quality figures; empty if none were computed.")
    refused: str | None = Field(None, description="Why a service would not serve this generator; null if it would.")


class History(Record):
    config: TrainingConfig
    dataset_checksum: str
    warnings: list[str] = Field([], description="Reasons why the result may differ from that of an uninterrupted run.")
    epochs: list[LocalEpoch]


@dataclass
class Folder:
    """The files of a run, each complete or absent, and its state, from which a stopped run resumes.

    An epoch's files are written while the next epoch is trained, all of them before those of the next epoch. A state is
    only saved when the files of every epoch before it are on disk.
    """

    out: Path
    save_seconds: float
    on_epoch: Callable[[LocalEpoch], None]
    epochs: list[LocalEpoch] = field(default_factory=list)
    reported: int = 0  # epochs that `on_epoch` was called for, or that an earlier process trained
    saved_at: float | None = None
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)
    tracking: TrackingSession | None = None

    def resume(self, trainer: Trainer) -> None:
        """Resume the run in the folder. A finished run, whose state was deleted, is continued after its last epoch.

        Raises InvalidState, InvalidWeights or OSError, which name the file, or FolderTaken if no epoch is left.
        """
        source = self.out / STATE if (self.out / STATE).exists() else self.out / HISTORY
        try:
            state = self.saved_state() if source.name == STATE else self.last_state(trainer)
            trainer.load_state(state)
        except training_state.InvalidState as error:
            raise training_state.InvalidState(f"{printable(source)}: {error}") from error
        if trainer.config.epochs < min(state.config.epochs, trainer.epoch):  # nothing is left of a shorter run
            done, all_epochs = trainer.epoch - 1, state.config.epochs
            raise FolderTaken(
                f"the run in {printable(self.out)}/ has trained {done} of its {all_epochs} epochs: continue it with "
                f"--epochs {all_epochs}"
            )
        if source.name == STATE:
            self.saved_at = time.monotonic()
        if trainer.epoch > 1:
            self.epochs = [epoch for epoch in self.history().epochs if epoch.epoch < trainer.epoch]
            self.reported = len(self.epochs)

    def saved_state(self) -> training_state.State:
        return training_state.from_bytes(read_bounded(self.out / STATE, STATE_LIMIT))

    def history(self) -> History:
        data = read_bounded(self.out / HISTORY, HISTORY_LIMIT)
        return parse_record(History, data, HISTORY_LIMIT, str(self.out / HISTORY))

    def last_state(self, trainer: Trainer) -> training_state.State:
        """Return the state at the end of a finished run, from the networks of its last epoch."""
        history = self.history()
        last = len(history.epochs)
        if trainer.config.epochs <= last:
            raise FolderTaken(
                f"the run in {printable(self.out)}/ is finished after epoch {last}: a larger --epochs continues it"
            )
        state = trainer.state_after(
            last,
            load_generator(self.file("generator", last)),
            load_discriminator(self.file("discriminator", last)),
            load_generator(self.file("generator_average", last)),
        )
        warnings = (*history.warnings, *state.warnings)
        return replace(state, config=history.config, dataset_checksum=history.dataset_checksum, warnings=warnings)

    def file(self, network: str, epoch: int) -> Path:
        return self.out / f"params_{network}_epoch_{epoch:03d}.safetensors"

    def keep(self, trainer: Trainer, epoch: EpochResult, gate: QualityGate | None) -> None:
        """Judge an epoch and start to write its files. Raises OSError if files of an earlier epoch failed."""
        snapshot = snapshot_epoch(trainer, epoch, gate, trainer.check)
        history = History(
            config=trainer.config, dataset_checksum=trainer.dataset.checksum, warnings=trainer.warnings, epochs=[]
        )
        self.writer.start(partial(self.write, snapshot, history))

    def write(self, snapshot: EpochSnapshot, about: History) -> None:
        """Write an epoch's files under the names of the original example, then history and table. Raises OSError.

        `about` is the history without its epochs.
        """
        number, verdict = f"epoch_{snapshot.result.epoch:03d}", snapshot.verdict
        write_output(self.out / f"plot_{number}_generated.png", encode_png(snapshot.plot))
        for name, state in (
            ("generator", snapshot.generator),
            ("generator_average", snapshot.average),
            ("discriminator", snapshot.discriminator),
        ):
            write_output(self.file(name, snapshot.result.epoch), state_to_bytes(state))
        epoch = LocalEpoch(**dict(snapshot.result), metrics=verdict.metrics, refused=verdict.refused)
        history = about.model_copy(update={"epochs": [*self.epochs, epoch]})
        write_output(self.out / HISTORY, json.dumps(history.model_dump(mode="json"), indent=2).encode())
        write_output(self.out / TABLE, to_csv(history.epochs).encode())
        self.epochs = history.epochs
        if self.tracking is not None:
            self.tracking.report(snapshot.result, verdict.metrics, snapshot.plot)

    def report(self) -> None:
        """Call `on_epoch` for each epoch whose files are on disk by now. Raises OSError if they cannot be written."""
        self.writer.check()
        for epoch in self.epochs[self.reported :]:
            self.reported += 1
            self.on_epoch(epoch)

    def finish_writing(self) -> None:
        """Wait until all files of finished epochs are on disk. Raises OSError."""
        self.writer.wait()
        self.report()

    def save(self, trainer: Trainer) -> None:
        """Save the run's state after the files of the epochs before it. Raises NonFiniteLoss, OSError."""
        self.finish_writing()
        write_output(self.out / STATE, training_state.to_bytes(trainer.state()))
        self.saved_at = time.monotonic()

    def save_if_due(self, trainer: Trainer) -> None:
        """Save the state if `save_seconds` have passed since the last time, so that a killed run can be resumed."""
        if self.saved_at is None or time.monotonic() - self.saved_at >= self.save_seconds:
            self.save(trainer)


def train_here(
    config: TrainingConfig,
    settings: AppSettings,
    out: Path,
    console: Console,
    resume: bool,
    on_epoch: Callable[[LocalEpoch], None] | None = None,
) -> None:
    """Train all epochs, and write the files of the original example into `out`, which `taken_folder` has prepared.

    Progress is shown on `console`. `on_epoch` is called in this thread when an epoch's files are on disk, while the
    next epoch is trained; by default the epoch is printed. All files are on disk when this returns or raises.

    Raises DatasetUnavailable, DeviceOutOfMemory, DeviceUnavailable, TrainingFailed, InvalidState, OSError,
    Stopped.
    """
    device = find_device(settings.device)
    folder = Folder(out, settings.save_seconds, on_epoch or (lambda epoch: print_epoch(epoch, config.epochs, console)))
    dataset = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors, reader(settings))
    with explain_out_of_memory(device, config.batch_size):
        trainer = Trainer(config, dataset, device)
        if resume:
            folder.resume(trainer)
        for warning in trainer.warnings:
            console.print(f"warning: {warning}", markup=False, highlight=False)
        where = f", from iteration {trainer.iteration} of epoch {trainer.epoch}" if resume else ""
        iterations = "1 iteration" if trainer.batches == 1 else f"{trainer.batches} iterations"
        console.print(
            f"Training on {describe(device)} in {trainer.precision}{where}: {len(dataset.train_labels)} images of "
            f"{dataset.name}, {iterations} per epoch. Files: {out}/"
        )
        gate = None
        if settings.judge:
            digits = sample_count(trainer.batches)
            gate = find_quality_gate(dataset, config.latent_size, device, settings.judges_dir, digits)
        with track(settings, out, resume, trainer, console) as folder.tracking:
            train_into(folder, trainer, gate, console)
    (out / STATE).unlink(missing_ok=True)


def track(settings: AppSettings, out: Path, resume: bool, trainer: Trainer, console: Console) -> TrackingSession:
    """Report the run to the chosen trackers. What they do not receive is printed at the end. Raises OSError."""

    def warn(missing: Shortfall) -> None:
        console.print(f"warning: {missing.what}: {missing.reason}", markup=False, highlight=False)

    run_id = tracked_id(out, resume) if settings.trackers else ""
    target = TrackingTarget(out, settings.mlflow_address)
    return TrackingSession(settings.trackers, run_id, trainer, target, warn, {Stopped: "stopped"})


def train_into(folder: Folder, trainer: Trainer, gate: QualityGate | None, console: Console) -> None:
    """Train the remaining epochs. Raises TrainingFailed, OSError, Stopped, after all files are on disk."""
    epochs = trainer.config.epochs
    with progress_bar(console) as bar, interruptible() as stop_check, folder.writer:
        task = bar.add_task("run", total=epochs * trainer.batches, epoch=f"1/{epochs}", rate=0.0)

        def check() -> None:
            stop_check()
            folder.report()

        def report(progress: RunProgress) -> None:
            show(bar, task, progress)
            folder.save_if_due(trainer)

        try:
            for epoch in trainer.run(report, check):
                folder.keep(trainer, epoch, gate)
            folder.finish_writing()
        except Stopped:
            folder.save(trainer)
            raise


@contextmanager
def interruptible() -> Iterator[Check]:
    """Yield a check that raises Stopped after Ctrl-C, SIGTERM or SIGHUP, so that a run ends between two iterations.

    Under `nohup`, SIGHUP is still ignored.
    """
    pressed: list[int] = []

    def check() -> None:
        if pressed:
            raise Stopped

    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {sign: signal.signal(sign, lambda *_: pressed.append(1)) for sign in signals}
    try:
        yield check
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
