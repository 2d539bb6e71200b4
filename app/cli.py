"""The command line. Heavy modules are imported by the command that needs them, so that `--help` is quick."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import SecretStr, ValidationError
from rich.console import Console

from app.settings import AppSettings
from models.config import TrainingConfig
from models.version import code_version
from worker import logs

cli = typer.Typer(
    name="acgan",
    help="Train and serve a class-conditional digit generator.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
logger = logging.getLogger(__name__)
console = Console()
SECRETS = {name for name, field in AppSettings.model_fields.items() if SecretStr in get_args(field.annotation)}
errors = Console(stderr=True)

Home = Annotated[Path | None, typer.Option(help="Folder for checkpoints, Redis and caches [ACGAN_HOME, or .acgan].")]
Host = Annotated[str | None, typer.Option(help="Address to listen on [ACGAN_HOST, or 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(help="Port to listen on [ACGAN_PORT, or 8000].")]


def option(field: str) -> Any:
    """An option that says of a hyperparameter what its one table says."""
    described = TrainingConfig.model_fields[field]
    default = "all" if described.default is None else described.default
    return typer.Option(help=f"{described.description} (default: {default})")


def tell_version(wanted: bool) -> None:
    if wanted:
        console.print(code_version(), highlight=False)
        raise typer.Exit


@cli.callback()
def acgan(
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version.", callback=tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


@cli.command()
def up(host: Host = None, port: Port = None, home: Home = None) -> None:
    """Start everything on this machine: Redis, one worker, the API. Ctrl-C ends all."""
    from app.embedded_redis import NoRedisServer
    from app.up import CannotStart
    from app.up import up as run

    def announce(address: str) -> None:
        console.print(f"\n[bold green]acgan is up[/] at [link]{address}[/link]   (Ctrl-C ends everything)\n")
        body = """-H 'Content-Type: application/json' -d '{"epochs": 2}'"""
        console.print(f"  start a run     curl {address}/train {body}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"  watch it        curl {address}/jobs", highlight=False)
        console.print(f"  draw 40 sevens  curl -o sevens.png '{address}/digits/7?n=40'", highlight=False)
        if settings.api_keys is not None:
            console.print("  with a key      curl -H 'Authorization: Bearer KEY' ...", highlight=False)
        console.print(f"  everything      {address}/docs\n", highlight=False)

    settings = read_settings(host=host, port=port, home=home)
    logs.configure(settings)
    with mistakes_in_a_sentence(CannotStart, NoRedisServer):
        run(settings, announce)


@cli.command()
def serve(host: Host = None, port: Port = None, home: Home = None) -> None:
    """Run the API alone; jobs go to the Redis at ACGAN_REDIS_URL."""
    from app.main import create_app
    from app.server import Server
    from app.up import CannotStart, check_port, is_loopback
    from models.acceleration import DeviceUnavailable

    settings = read_settings(host=host, port=port, home=home)
    logs.configure(settings)
    with mistakes_in_a_sentence(DeviceUnavailable, CannotStart):
        check_port(settings.host, settings.port)
        app = create_app(settings)
    address = f"http://{settings.host}:{settings.port}"
    if logs.wants_json(settings):
        logger.info("acgan serves at %s", address)
    else:
        errors.print(f"acgan serves at {address}", highlight=False)
    if settings.api_keys is None and not is_loopback(settings.host):
        logger.warning("whoever reaches %s may train: no key is needed; see `acgan key --help`", address)
    with suppress(KeyboardInterrupt):
        Server(app, host=settings.host, port=settings.port).run()


@cli.command()
def worker(home: Home = None) -> None:
    """Run one worker alone; it takes jobs from the Redis at ACGAN_REDIS_URL."""
    settings = read_settings(home=home)
    os.environ["ACGAN_HOME"] = str(settings.home.resolve())  # the training process reads it again
    logs.configure(settings)
    from app.up import answers
    from worker.bench import JobBench
    from worker.store import Unsuitable
    from worker.tasks import celery

    if not answers(settings.redis_url):
        errors.print(
            "acgan: no Redis answers yet: start one, or name it in ACGAN_REDIS_URL; waiting for it", style="red"
        )
    else:
        with mistakes_in_a_sentence(Unsuitable):
            JobBench.connect(settings.redis_url).check_eviction()
    quiet = ["--quiet"] if logs.wants_json(settings) else []  # no banner between the lines
    options = ["--loglevel", settings.log_level.upper(), "--without-gossip", "--without-mingle"]
    celery.worker_main([*quiet, "worker", *options])


@cli.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for plots, weights and history.")] = Path(),
    recipe: Annotated[str | None, option("recipe")] = None,
    epochs: Annotated[int | None, option("epochs")] = None,
    batch_size: Annotated[int | None, option("batch_size")] = None,
    latent_size: Annotated[int | None, option("latent_size")] = None,
    adam_lr: Annotated[float | None, option("adam_lr")] = None,
    adam_beta_1: Annotated[float | None, option("adam_beta_1")] = None,
    seed: Annotated[int | None, option("seed")] = None,
    dataset: Annotated[str | None, option("dataset")] = None,
    train_examples: Annotated[int | None, option("train_examples")] = None,
    test_examples: Annotated[int | None, option("test_examples")] = None,
    precision: Annotated[str | None, option("precision")] = None,
    going_on: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    home: Home = None,
) -> None:
    """Train here, with no server, as the seed script does: a table, a plot and the weights each epoch."""
    given = {name: value for name, value in locals().items() if name in TrainingConfig.model_fields}
    with mistakes_in_a_sentence(ValidationError):
        config = TrainingConfig(**{name: value for name, value in given.items() if value is not None})
    settings = read_settings(home=home)

    from app.local_training import FolderTaken, Stopped, train_here
    from models.acceleration import DeviceUnavailable
    from models.history import Hopeless
    from models.mnist import DatasetUnavailable
    from models.resume import InvalidState

    kinds = (DatasetUnavailable, DeviceUnavailable, FolderTaken, Hopeless, InvalidState, OSError)
    with mistakes_in_a_sentence(*kinds):
        try:
            train_here(config, settings, out, console, going_on)
        except Stopped:
            errors.print(
                f"acgan: stopped; the same command with --resume goes on in {out}/", style="red", highlight=False
            )
            raise typer.Exit(130) from None


@cli.command()
def digits(
    label: Annotated[int, typer.Argument(min=0, max=9, help="Which digit.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG to write.")],
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="The hand that writes; a fresh one if left out.")] = None,
    index: Annotated[int, typer.Option(min=0, help="The first digit's number within the seed.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="`latest`, a checkpoint's id, or a generator's .safetensors file.")
    ] = "latest",
    columns: Annotated[int | None, typer.Option(min=1, help="Digits a row.")] = None,
    scale: Annotated[int, typer.Option(min=1, max=10, help="Pixels of the picture a pixel of the digit.")] = 1,
    home: Home = None,
) -> None:
    """Draw digits into a PNG, with no server, from a checkpoint in the home or from a file."""
    settings = read_settings(home=home)

    from app.local_drawing import NoGenerator, draw_here
    from models.acceleration import DeviceUnavailable
    from models.checkpoints import CheckpointDamaged, CheckpointNotFound
    from models.weights import InvalidWeights

    kinds = (NoGenerator, CheckpointDamaged, CheckpointNotFound, DeviceUnavailable, InvalidWeights, OSError)
    with mistakes_in_a_sentence(*kinds):
        drawn = draw_here(settings, checkpoint, label, n, seed, index, columns, scale)
        out.write_bytes(drawn.png)
    digit = "digit" if n == 1 else "digits"
    console.print(f"{n} {digit} of {label} by {drawn.checkpoint}, seed {drawn.seed}, in {out}", highlight=False)


@cli.command()
def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="`latest`, a checkpoint's id, or a generator's .safetensors file.")
    ] = "latest",
    dataset: Annotated[str, typer.Option(help="The digits that it was trained on: `mnist` or `printed`.")] = "mnist",
    quick: Annotated[bool, typer.Option("--quick", help="Look at a fifth of the digits: rough figures, soon.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell the figures as JSON.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw them into this PNG.")] = None,
    home: Home = None,
) -> None:
    """Tell how good a generator's digits are, beside real ones. Takes minutes."""
    settings = read_settings(home=home)

    from app.local_drawing import NoGenerator
    from app.local_evaluation import evaluate_here, tabulate
    from models.acceleration import DeviceUnavailable
    from models.checkpoints import CheckpointDamaged, CheckpointNotFound
    from models.mnist import DatasetUnavailable
    from models.weights import InvalidWeights

    kinds = (NoGenerator, CheckpointDamaged, CheckpointNotFound, DatasetUnavailable, DeviceUnavailable, InvalidWeights)
    with mistakes_in_a_sentence(*kinds, OSError, ValidationError):
        found = evaluate_here(settings, checkpoint, dataset, quick, picture, errors)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        console.print(tabulate(found))


@cli.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is, as logs and limits will name it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Tell it as JSON.")] = False,
) -> None:
    """Make a key to the API. It is shown once: only its entry for ACGAN_API_KEYS is to be kept by the service."""
    from app.keys import make_key

    with mistakes_in_a_sentence(ValueError):
        made, entry = make_key(name)
    if as_json:
        typer.echo(json.dumps({"name": name, "key": made, "entry": str(entry)}))
        return
    typer.echo(f"The key, for whoever is to have it. It is not shown again:\n\n    {made}\n")
    typer.echo(f"Its entry, for the service's ACGAN_API_KEYS, beside those that are there:\n\n    {entry}")


def read_settings(**given: Any) -> AppSettings:
    """Read the environment once; what was said on the command line wins."""
    with mistakes_in_a_sentence(ValidationError):
        return AppSettings(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def mistakes_in_a_sentence(*kinds: type[Exception]) -> Iterator[None]:
    """End the command with a sentence and exit code 2 where the user can mend what went wrong."""
    try:
        yield
    except kinds as error:
        errors.print(f"acgan: {describe_mistake(error)}", style="red", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(2) from None


def describe_mistake(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors()[0]
    message = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not found["loc"]:
        return message
    where = ".".join(str(part) for part in found["loc"])
    if error.title == AppSettings.__name__:
        where += f" (ACGAN_{where.upper()})"
    return f"{where} {message}" + ("" if found["loc"][0] in SECRETS else f" (it is {found['input']!r})")


def main() -> None:
    cli()


if __name__ == "__main__":
    main()
