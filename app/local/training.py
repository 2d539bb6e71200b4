"""`acgan train`: the seed's script, here and now, with no server."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field
from rich.console import Console

from app.local.display import progress_bar, show, tell_epoch
from app.local.folder import HISTORY, STATE, TABLE
from app.settings import AppSettings
from models import resume
from models.acceleration import describe, find_device
from models.config import TrainingConfig
from models.data import Dataset, load_dataset
from models.files import write_durably
from models.history import EpochResult, Record, to_csv
from models.history import Progress as RunProgress
from models.images import encode_png, epoch_plot
from models.quality import Assessor, digits_worth, find_assessor
from models.safe_reading import parse_record, printable, read_bounded
from models.trainer import Check, Trainer
from models.weights import to_bytes

STATE_LIMIT = 512 << 20  # bytes; that of the largest latents has some 150 MB
HISTORY_LIMIT = 64 << 20  # bytes; a thousand epochs have some 2 MB


class Stopped(Exception):
    """Somebody pressed Ctrl-C; the run's state is kept."""


class LocalEpoch(EpochResult):
    """A finished epoch, as the history tells it."""

    metrics: dict[str, float] = Field({}, description="Quality figures; empty where none were computed.")
    refused: str | None = Field(None, description="Why a service would not serve it, where it would not.")


class History(Record):
    config: TrainingConfig
    dataset_checksum: str
    epochs: list[LocalEpoch]


@dataclass
class Folder:
    """What a run leaves, each file whole or not at all, and its state, to go on from after a stop."""

    out: Path
    save_seconds: float
    epochs: list[LocalEpoch] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)

    def go_on(self, trainer: Trainer) -> None:
        """Resume the run in the folder. Raises InvalidState or OSError, which name the file."""
        try:
            trainer.load_state(resume.from_bytes(read_bounded(self.out / STATE, STATE_LIMIT)))
        except resume.InvalidState as error:
            raise resume.InvalidState(f"{printable(self.out / STATE)}: {error}") from error
        if trainer.epoch > 1:
            data = read_bounded(self.out / HISTORY, HISTORY_LIMIT)
            history = parse_record(History, data, HISTORY_LIMIT, str(self.out / HISTORY))
            self.epochs = [epoch for epoch in history.epochs if epoch.epoch < trainer.epoch]

    def keep(self, trainer: Trainer, dataset: Dataset, result: EpochResult, assessor: Assessor | None) -> LocalEpoch:
        """Write an epoch's files under the seed's names, and then the state after it."""
        number = f"epoch_{result.epoch:03d}"
        average = trainer.averaged_generator()
        plot = epoch_plot(trainer.generator.eval(), dataset, result.epoch, trainer.config.seed)
        write_durably(self.out / f"plot_{number}_generated.png", encode_png(plot))
        write_durably(self.out / f"params_generator_{number}.safetensors", to_bytes(trainer.generator))
        write_durably(self.out / f"params_generator_average_{number}.safetensors", to_bytes(average))
        write_durably(self.out / f"params_discriminator_{number}.safetensors", to_bytes(trainer.discriminator))
        epoch = LocalEpoch(**dict(result))
        if assessor is not None:
            verdict = assessor.verdict(trainer.generator, average)
            epoch = epoch.model_copy(update={"metrics": verdict.metrics, "refused": verdict.refused})
        self.epochs.append(epoch)
        history = History(config=trainer.config, dataset_checksum=dataset.checksum, epochs=self.epochs)
        write_durably(self.out / HISTORY, json.dumps(history.model_dump(mode="json"), indent=2).encode())
        write_durably(self.out / TABLE, to_csv(self.epochs).encode())
        self.save(trainer)
        return epoch

    def save(self, trainer: Trainer) -> None:
        write_durably(self.out / STATE, resume.to_bytes(trainer.state()))
        self.saved_at = time.monotonic()

    def save_now_and_then(self, trainer: Trainer) -> None:
        if time.monotonic() - self.saved_at >= self.save_seconds:
            self.save(trainer)


def train_here(
    config: TrainingConfig,
    settings: AppSettings,
    out: Path,
    console: Console,
    going_on: bool,
    told: Callable[[LocalEpoch], None] | None = None,
) -> None:
    """Train all epochs, leaving in `out`, which `take_folder` has taken, what the seed leaves: plots, weights, history.

    What happens is shown on `console`, and each epoch told to `told` instead, where there is one.

    Raises DatasetUnavailable, DeviceUnavailable, Hopeless, InvalidState, OSError, Stopped.
    """
    device = find_device(settings.device)
    folder = Folder(out, settings.save_seconds)
    dataset = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors)
    trainer = Trainer(config, dataset, device)
    if going_on:
        folder.go_on(trainer)
    where = f", from iteration {trainer.iteration} of epoch {trainer.epoch}" if going_on else ""
    iterations = "1 iteration" if trainer.batches == 1 else f"{trainer.batches} iterations"
    console.print(
        f"Training on {describe(device)} in {trainer.precision}{where}: {len(dataset.train_labels)} images of "
        f"{dataset.name}, {iterations} an epoch. Files go to {out}/"
    )
    assessor = None
    if settings.judge:
        digits = digits_worth(trainer.batches)
        assessor = find_assessor(dataset, config.latent_size, device, settings.judges_dir, digits)
    with progress_bar(console) as bar, interruptible() as check:
        task = bar.add_task("run", total=config.epochs * trainer.batches, epoch=f"1/{config.epochs}", rate=0.0)

        def report(progress: RunProgress) -> None:
            show(bar, task, progress)
            folder.save_now_and_then(trainer)

        try:
            for result in trainer.run(report, check):
                epoch = folder.keep(trainer, dataset, result, assessor)
                if told:
                    told(epoch)
                else:
                    tell_epoch(epoch, config.epochs, console)
        except Stopped:
            folder.save(trainer)
            raise
    (out / STATE).unlink(missing_ok=True)


@contextmanager
def interruptible() -> Iterator[Check]:
    """Let Ctrl-C and SIGTERM end a run between two iterations: the check raises Stopped."""
    pressed: list[int] = []

    def check() -> None:
        if pressed:
            raise Stopped

    before = {sign: signal.signal(sign, lambda *_: pressed.append(1)) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
