"""`acgan train`: trains without a service."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.display.output import console, print_json
from app.cli.errors import FAILED, error_console, fail, fail_on, read_settings, stop
from app.cli.options import (
    AdamBeta1,
    AdamLr,
    BatchSize,
    DatasetOption,
    Epochs,
    Home,
    LatentSize,
    PrecisionOption,
    Recipe,
    Seed,
    TestExamples,
    TrainExamples,
    given,
)
from models.config import TrainingConfig
from worker.tracker_catalog import require_libraries


def train(
    out: Annotated[Path, typer.Option(help="Folder for plots, weights and history.")] = Path(),
    recipe: Recipe = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    latent_size: LatentSize = None,
    adam_lr: AdamLr = None,
    adam_beta_1: AdamBeta1 = None,
    seed: Seed = None,
    dataset: DatasetOption = None,
    train_examples: TrainExamples = None,
    test_examples: TestExamples = None,
    precision: PrecisionOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run in the folder; if it is finished, continue it to --epochs."),
    ] = False,
    report_to: Annotated[
        list[str] | None,
        typer.Option(help="Also send each epoch to `tensorboard` or `mlflow`; may be repeated [ACGAN_REPORT_TO]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per epoch.")] = False,
    home: Home = None,
) -> None:
    """Train like the original Keras script: each epoch prints a table, and writes a plot and weights."""
    options = given(locals())
    with fail_on(ValidationError):
        config = TrainingConfig(**options)
    settings = read_settings(home=home, report_to=" ".join(report_to) if report_to else None)
    with fail_on():
        require_libraries(settings.trackers)
    from app.cli.local.stored_data import as_begun, settled_for_run

    with fail_on(OSError):
        config = settled_for_run(as_begun(config, out) if resume else config, settings)
    settings.protect_home()  # downloaded training data is stored there

    from app.cli.local.folder import taken_folder

    with fail_on(OSError), taken_folder(out, resume):  # before the imports that take a while
        from app.cli.local.training import Stopped, train_here
        from models.devices import DeviceOutOfMemory

        try:
            on_epoch = (lambda epoch: print_json(epoch.model_dump(mode="json"))) if as_json else None
            train_here(config, settings, out, error_console if as_json else console, resume, on_epoch)
        except Stopped:
            stop(f"the same command with --resume continues in {out}/")
        except DeviceOutOfMemory as error:
            fail(str(error), FAILED)
