"""The table of an evaluation's figures, for `acgan evaluate`."""

from collections.abc import Sequence

from app.cli.display.columns import Column, Table
from models.evaluation.evaluation_records import Evaluation, Figures, Interval


def tabulate(evaluation: Evaluation) -> Table:
    """Return a table of the figures, next to those of real digits."""
    digits = f"{evaluation.checkpoint}, {evaluation.generator.digits} digits"
    note = "The column of real digits compares training digits with test digits."
    real_digits = Column(f"real {evaluation.dataset}", right=True, drop=1, note=note)
    table = Table(Column("figure"), Column(digits, right=True), real_digits)
    names = evaluation.classes
    generated, real = rows(evaluation.generator, names), rows(evaluation.real, names)
    for (figure, value), of_real in zip(generated.items(), real.values(), strict=True):
        table.add(figure, value, of_real)
    table.caption = (
        f"The judge classifies {evaluation.judge_accuracy:.2%} of real test digits correctly "
        f"({between(evaluation.judge_accuracy_interval, '.2%')}). Ranges are 95 % intervals. "
        f"Took {evaluation.seconds:.0f} s."
    )
    return table


def rows(figures: Figures, names: Sequence[str]) -> dict[str, str]:
    """Return the figures as text. `names` are those of the classes."""
    classes = range(len(figures.variety))
    worst = min(classes, key=lambda label: figures.label_accuracies[label])
    least, most = (pick(classes, key=lambda label: figures.variety[label]) for pick in (min, max))

    def of_class(label: int) -> str:
        return f"{figures.variety[label]:.3f} ({names[label]}) {between(figures.variety_intervals[label], '.3f')}"

    return {
        "label accuracy": with_interval(figures.label_accuracy, figures.label_accuracy_interval, ".2%"),
        "  worst class": f"({names[worst]}) "
        + with_interval(figures.label_accuracies[worst], figures.label_accuracies_intervals[worst], ".2%"),
        f"GAN-train, {figures.lessons} digits": with_interval(figures.gan_train, figures.gan_train_interval, ".2%"),
        "  digits of each pupil": f"{figures.lessons}",
        "  each pupil": " ".join(f"{score:.2%}" for score in figures.gan_trains),
        "Frechet distance": with_interval(figures.frechet_distance, figures.frechet_distance_interval, ".3f"),
        "kernel distance": with_interval(figures.kernel_distance, figures.kernel_distance_interval, ".4f"),
        "density": with_interval(figures.density, figures.density_interval, ".3f"),
        "coverage": with_interval(figures.coverage, figures.coverage_interval, ".3f"),
        "variety, mean": with_interval(figures.variety_mean, figures.variety_mean_interval, ".3f"),
        "  lowest": of_class(least),
        "  highest": of_class(most),
        "nearest training digit, grey levels": with_interval(
            figures.nearest_distance, figures.nearest_distance_interval, ".0f"
        ),
        "    copies": with_interval(figures.copies, figures.copies_interval, ".2%"),
    }


def between(interval: Interval, form: str) -> str:
    low, high = interval
    return f"{low:{form}} - {high:{form}}"


def with_interval(value: float, interval: Interval, form: str) -> str:
    return f"{value:{form}}  {between(interval, form)}"
