"""Records of a run: progress within an epoch, and the losses of finished epochs. Free of torch."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from models.errors import InvalidInput, TrainingFailed


class Record(BaseModel):
    """A record refuses NaN and infinity: as JSON they become null, which it could not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class NonFiniteLoss(TrainingFailed, code="non-finite-loss"):
    """Losses or weights are no longer finite."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} are no longer finite: the run has diverged; try again with a lower adam_lr")


class DiscriminatorWon(TrainingFailed, code="discriminator-won"):
    """The discriminator recognises every generated digit, and the generator no longer learns from it."""

    def __init__(self, epoch: int) -> None:
        super().__init__(
            f"the discriminator has won in epoch {epoch}: it recognises every generated digit, and the generator no "
            "longer learns from it; try again with a lower adam_lr or another seed"
        )


class LossExploded(TrainingFailed, code="loss-exploded"):
    """Losses are finite but far too large."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the losses have exploded in epoch {epoch}; try again with a lower adam_lr")


class Loss(Record):
    """One row of the original script's table, in nats."""

    loss: FiniteFloat = Field(description="Sum of the two terms, the quantity that is minimised.")
    generation_loss: FiniteFloat = Field(description="Binary cross-entropy of real against fake.")
    auxiliary_loss: FiniteFloat = Field(
        description="Cross-entropy of the class. Of a generator with any recipe but `seed` it is a difference of two, "
        "and can be negative."
    )

    @classmethod
    def of(cls, row: list[float]) -> "Loss":
        """Make a loss from a row (loss, generation loss, auxiliary loss). Raises NonFiniteLoss if one is not finite."""
        loss, generation, auxiliary = row
        if not all(map(math.isfinite, row)):
            raise NonFiniteLoss("losses")
        return cls(loss=loss, generation_loss=generation, auxiliary_loss=auxiliary)


# With a target of 0.95 for real images, a discriminator that is never wrong has a loss of 0.099 nats, one that guesses
# 0.69. Runs that learn stay above 0.2. With a generator that was kept from learning, the discriminator's loss fell to
# 0.104 to 0.116 and the generator's rose to 4.7.
WON_DISCRIMINATOR, WON_GENERATOR, EXPLODED = 0.15, 4.0, 20.0


class TooFewImages(InvalidInput, ValueError, code="too-few-images"):
    """The training data have fewer images than one batch."""


def check_that_a_batch_is_filled(dataset: str, images: int, batch_size: int) -> None:
    """Raises TooFewImages if the training data have fewer training images than one batch."""
    if images < batch_size:
        raise TooFewImages(
            f"{dataset} has {images} training images, less than one batch of {batch_size}: lower batch_size",
            dataset=dataset,
            images=images,
        )


def check_hope(epoch: int, generator: Loss, discriminator: Loss) -> None:
    """Check from an epoch's mean losses that the run can still learn. Raises DiscriminatorWon or LossExploded."""
    if discriminator.generation_loss < WON_DISCRIMINATOR and generator.generation_loss > WON_GENERATOR:
        raise DiscriminatorWon(epoch)
    if discriminator.generation_loss > EXPLODED:
        raise LossExploded(epoch)


class SplitLosses(Record):
    train: Loss = Field(description="Mean over the epoch's iterations, with dropout and batch statistics.")
    test: Loss = Field(description="Mean over the test images and equally many fakes, with networks in inference mode.")


class EpochLosses(Record):
    generator: SplitLosses
    discriminator: SplitLosses

    def table(self) -> str:
        """Format the four rows as the original script prints them."""
        header = "{:<22s} | {:4s} | {:15s} | {:5s}".format("component", "loss", "generation_loss", "auxiliary_loss")
        lines = [header, "-" * 65]
        for component, split in (("generator", self.generator), ("discriminator", self.discriminator)):
            for name, row in (("train", split.train), ("test", split.test)):
                lines.append(
                    f"{component + f' ({name})':<22s} | {row.loss:<4.2f} | "
                    f"{row.generation_loss:<15.4f} | {row.auxiliary_loss:<5.4f}"
                )
        return "\n".join(lines)


class LiveLosses(Record):
    """Mean losses of the last iterations of a run, with dropout and batch statistics, over at least a second."""

    number: int = Field(description="Counts the entries of the run, from 1.")
    epoch: int = Field(description="The epoch of the last of these iterations, from 1.")
    batch: int = Field(description="Iterations done in this epoch.")
    batches: int = Field(description="Iterations per epoch.")
    iterations: int = Field(description="Number of iterations that the means cover.")
    generator: Loss
    discriminator: Loss


Phase = Literal["loading", "training", "testing", "judging", "saving"]


class Progress(Record):
    """Progress of a run."""

    epoch: int = Field(description="The epoch being trained, from 1.")
    epochs: int
    batch: int = Field(description="Iterations done in this epoch.")
    batches: int = Field(description="Iterations per epoch.")
    images_per_second: float = Field(description="Real images per second, averaged over about half a minute.")
    eta_seconds: float = Field(description="Estimated seconds until the run ends.")
    phase: Phase | None = Field(
        None,
        description="What the run does: it loads its data, trains, computes the test losses, judges the digits of the "
        "epoch, or saves its state. Null if its worker does not report it.",
    )
    live: int | None = Field(
        None, description="Number of the newest entry of its live losses and samples; null if the run has none."
    )


class EpochResult(Record):
    """Result of one finished epoch."""

    epoch: int = Field(description="From 1.")
    seconds: float = Field(description="Seconds of the epoch's training and evaluation.")
    losses: EpochLosses


# ----------------------------------------------------------------------------
# As a table, for spreadsheets.


def to_csv(epochs: Sequence[EpochResult]) -> str:
    """Format finished epochs as CSV (RFC 4180): a header and one line for each. Missing figures are empty fields."""
    rows = [dict(flatten(epoch.model_dump(mode="json"))) for epoch in epochs]
    columns = dict.fromkeys(name for row in rows for name in row)
    written = io.StringIO()
    writer = csv.DictWriter(written, list(columns) or ["epoch", "seconds"])
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def flatten(fields: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield each number with its path, as in `generator_test_loss`, without `losses` and `metrics`."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flatten(value, path if name in ("losses", "metrics") else f"{path}{name}_")
        else:
            yield f"{path}{name}", value
