"""100 epochs of the original recipe by wall clock, as `acgan train` runs them: evaluation, plots, weights, judge."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.cli.local.training import LocalEpoch, Stopped, train_here
from app.settings import AppSettings
from benchmarks.gpu.context import PartContext, data_dir

NO_MIRROR = "http://127.0.0.1:9/"  # an address without a server, so that nothing is downloaded


def run(context: PartContext) -> None:
    with tempfile.TemporaryDirectory(prefix="acgan-") as folder:  # 100 epochs write 1.3 GB
        context.measure("100 epochs", lambda: train(context, Path(folder)))


def train(context: PartContext, out: Path) -> dict[str, object]:
    """Train. SIGTERM, which the runner sends before the limit, ends it early; the finished epochs still count."""
    config = context.config(epochs=2 if context.tiny else 100)
    home = context.out / "home"
    settings = AppSettings(home=home, data_dir=data_dir(), mnist_mirrors=NO_MIRROR, device=str(context.device))
    epochs: list[LocalEpoch] = []
    began = time.monotonic()

    def record(epoch: LocalEpoch) -> None:
        epochs.append(epoch)
        if epoch.epoch in (1, 2, 5) or epoch.epoch % 10 == 0:
            elapsed = round(time.monotonic() - began, 2)
            context.log.write(
                "epoch", epoch=epoch.epoch, seconds=round(epoch.seconds, 3), elapsed=elapsed, refused=epoch.refused
            )

    stopped = False
    try:
        train_here(config, settings, out, Console(quiet=True), False, record)
    except Stopped:
        stopped = True
    return summarize(context, out, epochs, time.monotonic() - began, stopped)


def summarize(
    context: PartContext, out: Path, epochs: list[LocalEpoch], wall: float, stopped: bool
) -> dict[str, object]:
    """Copy the history and the last plot to the results. Returns the times, in seconds."""
    plots = sorted(out.glob("plot_epoch_*.png"))
    for path in [out / "history.json", out / "history.csv", *plots[-1:]]:
        if path.exists():
            shutil.copy(path, context.out / f"original_{path.name}")
    figures: dict[str, object] = {
        "epochs": len(epochs),
        "stopped": stopped,
        "wall_s": round(wall, 2),
        "with_imports_s": round(time.monotonic() - context.started, 2),
        "written_mb": round(sum(file.stat().st_size for file in out.iterdir()) / 1e6, 1),
    }
    if epochs:
        trained = [epoch.seconds for epoch in epochs]
        figures["s_per_epoch_with_everything"] = round(wall / len(epochs), 4)
        figures["s_per_epoch_training_and_evaluation"] = round(statistics.median(trained), 4)
        figures["last"] = epochs[-1].metrics
    return figures
