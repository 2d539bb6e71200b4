"""`acgan evaluate`: measures the quality of digits against real ones, without a service."""

import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console

from app.cli.columns import Column, Table
from app.cli.local.drawing import NoGenerator, load_with_manifest
from app.cli.local.evaluation_picture import draw_evaluation
from app.cli.local.stored_data import reader, settled
from app.settings import AppSettings
from models.atomic_files import write_durably
from models.bounded_reading import FileFault, FileMissing, parse_record, printable, read_bounded
from models.config import TrainingConfig
from models.data.catalog import DEFAULT
from models.data.dataset import load_dataset
from models.evaluation.evaluator import FULL, QUICK, Evaluation, Evaluator, Figures, evaluate
from models.evaluation.judge import find_judge
from models.sampling.sampler import prepare
from models.torch_device import find_device

logger = logging.getLogger(__name__)

FIGURES_LIMIT = 1 << 20  # bytes; the figures of real digits have 2 KB


def evaluate_here(
    settings: AppSettings, checkpoint: str, dataset: str | None, quick: bool, picture: Path | None, console: Console
) -> Evaluation:
    """Evaluate a generator. The current step is shown on `console`.

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
        examiner = Evaluator(data, judge, QUICK if quick else FULL, status.update)
        real = find_real(examiner, settings.judges_dir)
        evaluation, neighbours = evaluate(name, prepare(generator, device), examiner, real)
    if picture is not None:
        picture.write_bytes(draw_evaluation(evaluation, neighbours))
    return evaluation


def find_real(examiner: Evaluator, cache: Path) -> Figures:
    """Return the quality figures of real digits, from the package or the cache. Else compute and cache them."""
    effort = examiner.effort
    name = f"{examiner.dataset.checksum.removeprefix('sha256:')[:16]}-real-{effort.lessons}-{effort.pupils}.json"
    bundled = resources.files("models") / "judges" / name
    if bundled.is_file():
        return Figures.model_validate_json(bundled.read_bytes())
    try:
        return parse_record(Figures, read_bounded(cache / name, FIGURES_LIMIT), FIGURES_LIMIT, str(cache / name))
    except FileMissing:
        pass
    except FileFault as error:
        logger.warning("figures of real digits will be computed again: %s", error)
    examiner.report_step("measuring real digits first, once")
    real = examiner.examine_real()
    write_durably(cache / name, real.model_dump_json(indent=2).encode())
    return real


def tabulate(evaluation: Evaluation) -> Table:
    """Return a table of the figures, next to those of real digits."""
    digits = f"{evaluation.checkpoint}, {evaluation.generator.digits} digits"
    table = Table(
        Column("figure"), Column(digits, right=True), Column(f"real {evaluation.dataset}", right=True, drop=1)
    )
    names = evaluation.classes
    generated, real = rows(evaluation.generator, names), rows(evaluation.real, names)
    for figure in generated:
        table.add(figure, generated[figure], real[figure])
    table.caption = (
        f"The judge classifies {evaluation.judge_accuracy:.2%} of real test digits correctly. "
        f"Took {evaluation.seconds:.0f} s. The column of real digits compares training digits with test digits."
    )
    return table


def rows(figures: Figures, names: Sequence[str]) -> dict[str, str]:
    """Return the figures as text. `names` are those of the classes."""
    low, high = figures.label_accuracy_interval
    classes = range(len(figures.variety))
    worst = min(classes, key=lambda label: figures.label_accuracies[label])
    least, most = (pick(classes, key=lambda label: figures.variety[label]) for pick in (min, max))
    return {
        "label accuracy": f"{figures.label_accuracy:.2%}",
        "  95 % interval": f"{low:.2%} - {high:.2%}",
        "  worst class": f"{figures.label_accuracies[worst]:.2%} ({names[worst]})",
        f"GAN-train, {figures.lessons} digits": f"{figures.gan_train:.2%}",
        "  each pupil": " ".join(f"{score:.2%}" for score in figures.gan_trains),
        "Frechet distance": f"{figures.frechet_distance:.3f}",
        "kernel distance": f"{figures.kernel_distance:.4f}",
        "density": f"{figures.density:.3f}",
        "coverage": f"{figures.coverage:.3f}",
        "variety, mean": f"{sum(figures.variety) / len(classes):.3f}",
        "  lowest, highest": f"{figures.variety[least]:.3f} ({names[least]}), "
        f"{figures.variety[most]:.3f} ({names[most]})",
        "nearest training digit, grey levels": f"{figures.nearest_distance:.0f}",
        "    copies": f"{figures.copies:.2%}",
    }
