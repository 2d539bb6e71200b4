"""`acgan train`: the seed's script, here and now, with no server."""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.settings import AppSettings
from models.acceleration import describe, find_device
from models.config import TrainingConfig
from models.data import Dataset, load_dataset
from models.files import write_durably
from models.history import EpochResult
from models.history import Progress as RunProgress
from models.images import encode_png, epoch_plot
from models.trainer import Trainer
from models.weights import to_bytes


class FolderTaken(Exception):
    """Another run's files are there already."""


def train_here(config: TrainingConfig, settings: AppSettings, out: Path, console: Console) -> None:
    """Train all epochs, leaving in `out` what the seed leaves: plots, weights and the history.

    Raises FolderTaken, DatasetUnavailable, DeviceUnavailable, Diverged, OSError.
    """
    if (out / "history.json").exists():
        raise FolderTaken(f"{out}/ already holds a run (history.json): choose another folder with --out")
    device = find_device(settings.device)
    dataset = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors)
    trainer = Trainer(config, dataset, device)
    console.print(
        f"Training on {describe(device)} in {trainer.precision}: {len(dataset.train_labels)} images of "
        f"{dataset.name}, {trainer.batches} iterations an epoch. Files go to {out}/"
    )
    history: list[EpochResult] = []
    columns = (
        TextColumn("Epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} images/s, whole run"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("run", total=config.epochs * trainer.batches, epoch=f"1/{config.epochs}", rate=0.0)
        for result in trainer.run(lambda progress: show(bar, task, progress)):
            history.append(result)
            keep(out, trainer, dataset, result, history)
            console.print(f"Epoch {result.epoch}/{config.epochs} ({result.seconds:.1f} s)")
            console.print(result.losses.table(), highlight=False)


def show(bar: Progress, task: TaskID, progress: RunProgress) -> None:
    done = (progress.epoch - 1) * progress.batches + progress.batch
    epoch = f"{progress.epoch}/{progress.epochs}"
    bar.update(task, completed=done, epoch=epoch, rate=progress.images_per_second)


def keep(out: Path, trainer: Trainer, dataset: Dataset, result: EpochResult, history: list[EpochResult]) -> None:
    """Write an epoch's files under the seed's names, each whole or not at all."""
    number = f"epoch_{result.epoch:03d}"
    plot = epoch_plot(trainer.generator.eval(), dataset, result.epoch, trainer.config.seed)
    write_durably(out / f"plot_{number}_generated.png", encode_png(plot))
    write_durably(out / f"params_generator_{number}.safetensors", to_bytes(trainer.generator))
    write_durably(out / f"params_discriminator_{number}.safetensors", to_bytes(trainer.discriminator))
    told = {
        "config": trainer.config.model_dump(mode="json"),
        "dataset_checksum": dataset.checksum,
        "epochs": [epoch.model_dump(mode="json") for epoch in history],
    }
    write_durably(out / "history.json", json.dumps(told, indent=2).encode())
