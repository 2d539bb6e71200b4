"""`acgan evaluate`: measures the quality of digits against real ones, without a service."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from app.cli.local.drawing import NoGenerator, load_with_manifest
from app.cli.local.stored_data import reader, settled
from app.settings import AppSettings
from models.atomic_files import write_output
from models.bounded_reading import printable
from models.config import TrainingConfig
from models.data.catalog import DEFAULT
from models.data.dataset import load_dataset
from models.evaluation.evaluation_picture import draw_evaluation
from models.evaluation.evaluation_records import Evaluation
from models.evaluation.evaluator import FULL, QUICK, Evaluator, evaluate
from models.evaluation.judge import find_judge
from models.evaluation.real_figures import find_real
from models.sampling.sampler import prepare
from models.torch_device import find_device


def evaluate_here(
    settings: AppSettings,
    checkpoint: str,
    dataset: str | None,
    quick: bool,
    picture: Path | None,
    console: Console,
    on_result: Callable[[Evaluation], None] = lambda _: None,
) -> Evaluation:
    """Evaluate a generator. The current step is shown on `console`.

    `on_result` is called before the picture is written, so that a full disk costs only the picture.

    Raises NoGenerator, DatasetUnavailable, DeviceUnavailable, OSError, ValidationError for an unknown `dataset`, and
    the errors of a bad checkpoint.
    """
    config = settled(TrainingConfig.model_validate({"dataset": dataset or DEFAULT}), settings)
    generator, manifest = load_with_manifest(settings, checkpoint)
    name = checkpoint if manifest is None else manifest.id
    if dataset is None and manifest is not None:
        config = TrainingConfig(dataset=manifest.config.dataset)
    device = find_device(settings.device)
    with console.status("loading") as status:
        data = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors, reader(settings)).to(
            device
        )
        if generator.classes != data.class_count:
            raise NoGenerator(
                f"{printable(name)} has {generator.classes} classes, and {config.dataset} {data.class_count}: it was "
                "trained on other data"
            )
        status.update(f"loading the judge of {config.dataset} digits, or training it, which takes minutes")
        judge = find_judge(data, "reporting", settings.judges_dir, device)
        evaluator = Evaluator(data, judge, QUICK if quick else FULL, status.update)
        real = find_real(evaluator, settings.judges_dir)
        evaluation, neighbours = evaluate(name, prepare(generator, device), evaluator, real)
    on_result(evaluation)
    if picture is not None:
        write_output(picture, draw_evaluation(evaluation, neighbours))
    return evaluation
