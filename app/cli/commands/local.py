"""Commands without a service: `acgan train`, `digits`, `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from app.cli.common import (
    FAILED,
    AsJson,
    Commands,
    Home,
    check_place,
    complain,
    console,
    errors,
    mistakes_in_a_sentence,
    read_settings,
    tell,
    tell_json,
)
from app.cli.options import (
    AdamBeta1,
    AdamLr,
    BatchSize,
    DatasetOption,
    Epochs,
    LatentSize,
    PrecisionOption,
    Recipe,
    Seed,
    TestExamples,
    TrainExamples,
    given,
)
from app.cli.output import escape_json, write_line
from models.config import TrainingConfig

if TYPE_CHECKING:  # takes a while to load
    from app.cli.local.training import LocalEpoch


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
    going_on: Annotated[bool, typer.Option("--resume", help="Resume the run in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per epoch.")] = False,
    home: Home = None,
) -> None:
    """Train without a service, like the original Keras script: a table, a plot and the weights each epoch."""
    options = given(locals())
    with mistakes_in_a_sentence(ValidationError):
        config = TrainingConfig(**options)
    settings = read_settings(home=home)
    settings.protect_home()  # downloaded training data is stored there

    from app.cli.local.folder import FolderTaken, take_folder

    with mistakes_in_a_sentence(FolderTaken):
        take_folder(out, going_on)  # before the imports that take a while

    from app.cli.local.training import Stopped, train_here
    from models.data.mnist import DatasetUnavailable
    from models.devices import DeviceOutOfMemory, DeviceUnavailable
    from models.records import TrainingFailed
    from models.training.training_state import InvalidState

    kinds = (DatasetUnavailable, DeviceUnavailable, FolderTaken, TrainingFailed, InvalidState, OSError)
    with mistakes_in_a_sentence(*kinds):
        try:
            tell_epoch = tell_json_of if as_json else None
            train_here(config, settings, out, errors if as_json else console, going_on, tell_epoch)
        except Stopped:
            complain(f"stopped; the same command with --resume continues in {out}/")
            raise typer.Exit(130) from None
        except DeviceOutOfMemory as error:
            complain(str(error))
            raise typer.Exit(FAILED) from None


def digits(
    label: Annotated[int, typer.Argument(min=0, max=9, metavar="DIGIT", help="The digit, 0 to 9.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The PNG to write. If omitted, print to the terminal.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Number of digits.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Random seed. The same seed always draws the same digits. If omitted, a new one is chosen."
        ),
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="Position of the first digit in the sequence of the seed.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="`latest`, a checkpoint's id, or a generator's .safetensors file.")
    ] = "latest",
    columns: Annotated[int | None, typer.Option(min=1, help="Digits per row.")] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=10, help="Image pixels per pixel of a digit, in each direction.")
    ] = 1,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Draw digits on the terminal or into a PNG, without a service, with a checkpoint in the home or a file."""
    settings = read_settings(home=home)
    check_place(out)

    from app.cli.local.drawing import NoGenerator, draw_here
    from app.cli.terminal import columns_that_fit, has_greys, in_characters, ink_for
    from models.devices import DeviceUnavailable
    from models.networks.weights import InvalidWeights
    from models.registry.store import CheckpointDamaged, CheckpointNotFound
    from models.sampling.images import encode_png, sheet

    kinds = (NoGenerator, CheckpointDamaged, CheckpointNotFound, DeviceUnavailable, InvalidWeights, OSError)
    with mistakes_in_a_sentence(*kinds):
        drawn = draw_here(settings, checkpoint, label, n, seed, index)
        if out is not None:
            out.write_bytes(encode_png(sheet(drawn.digits, columns, scale)))
    if as_json:
        about = {"label": label, "n": n, "checkpoint": drawn.checkpoint, "seed": drawn.seed, "index": index}
        tell_json({**about, **({"file": str(out)} if out else {"digits": drawn.digits.tolist()})})
        return
    if out is None:
        picture = sheet(drawn.digits, columns or columns_that_fit(console), scale)
        drawing = in_characters(picture, has_greys(console), ink_for(console.encoding))
        console.print(drawing, crop=False, soft_wrap=True)
    digit = "digit" if n == 1 else "digits"
    where = f", in {out}" if out else ""
    tell(f"{n} {digit} of {label} by {drawn.checkpoint}, seed {drawn.seed}{where}")


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="`latest`, a checkpoint's id, or a generator's .safetensors file."),
    ] = "latest",
    dataset: Annotated[str, typer.Option(help="The training data of the generator: `mnist` or `printed`.")] = "mnist",
    quick: Annotated[bool, typer.Option("--quick", help="Use a fifth of the digits: faster, less precise.")] = False,
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(help="Write charts of the result into this PNG.")] = None,
    home: Home = None,
) -> None:
    """Measure the quality of a generator's digits, compared with real digits. Takes minutes."""
    settings = read_settings(home=home)
    check_place(picture)

    from app.cli.local.drawing import NoGenerator
    from app.cli.local.evaluation import evaluate_here, tabulate
    from models.data.mnist import DatasetUnavailable
    from models.devices import DeviceUnavailable
    from models.networks.weights import InvalidWeights
    from models.registry.store import CheckpointDamaged, CheckpointNotFound

    kinds = (NoGenerator, CheckpointDamaged, CheckpointNotFound, DatasetUnavailable, DeviceUnavailable, InvalidWeights)
    with mistakes_in_a_sentence(*kinds, OSError, ValidationError):
        found = evaluate_here(settings, checkpoint, dataset, quick, picture, errors)
    if as_json:
        write_line(escape_json(found.model_dump_json(indent=2)))
    else:
        console.print(tabulate(found))


def tell_json_of(epoch: "LocalEpoch") -> None:
    tell_json(epoch.model_dump(mode="json"))


COMMANDS: Commands = {"train": train, "digits": digits, "evaluate": evaluate}
