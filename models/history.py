"""What a run tells of itself while it goes: progress within an epoch, and the losses an epoch leaves. Free of torch."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Hopeless(Exception):
    """This run will come to nothing, however long it goes on. The message says why, and what to try."""


class Diverged(Hopeless):
    """Losses or weights are no longer finite."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} are no longer finite: the run has diverged; try again with a lower adam_lr")


class Won(Hopeless):
    """The discriminator tells all of the generator's digits, and the generator no longer learns from it."""

    def __init__(self, epoch: int) -> None:
        super().__init__(
            f"the discriminator has won in epoch {epoch}: it tells every generated digit, and the generator no longer "
            "learns from it; try again with a lower adam_lr or another seed"
        )


class Exploded(Hopeless):
    """Losses are finite, and beyond all measure."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the losses have exploded in epoch {epoch}: the run comes to nothing; try a lower adam_lr")


class Loss(Record):
    """One row of the seed's table, in nats."""

    loss: FiniteFloat = Field(description="The sum of the two terms, which is what is minimised.")
    generation_loss: FiniteFloat = Field(description="Binary cross-entropy of real against fake.")
    auxiliary_loss: FiniteFloat = Field(description="Cross-entropy of the class.")

    @classmethod
    def of(cls, row: list[float]) -> "Loss":
        """Raises Diverged where a loss is not finite."""
        loss, generation, auxiliary = row
        if not all(map(math.isfinite, row)):
            raise Diverged("losses")
        return cls(loss=loss, generation_loss=generation, auxiliary_loss=auxiliary)


# With real images at 0.95 a discriminator that is never wrong still has 0.099 nats, and one that guesses 0.69. Runs
# that learn stay above 0.2; beside a generator that was kept from learning it came to 0.104 to 0.116, that to 4.7.
WON_DISCRIMINATOR, WON_GENERATOR, EXPLODED = 0.15, 4.0, 20.0


def check_hope(epoch: int, generator: Loss, discriminator: Loss) -> None:
    """Tell from an epoch's mean losses whether there is anything left to learn. Raises Won, Exploded."""
    if discriminator.generation_loss < WON_DISCRIMINATOR and generator.generation_loss > WON_GENERATOR:
        raise Won(epoch)
    if discriminator.generation_loss > EXPLODED:
        raise Exploded(epoch)


class SplitLosses(Record):
    train: Loss = Field(description="Mean over the epoch's iterations, dropout and batch statistics active.")
    test: Loss = Field(description="On the test images and as many fakes, both networks in inference mode.")


class EpochLosses(Record):
    generator: SplitLosses
    discriminator: SplitLosses

    def table(self) -> str:
        """Lay the four rows out as the seed prints them."""
        header = "{:<22s} | {:4s} | {:15s} | {:5s}".format("component", "loss", "generation_loss", "auxiliary_loss")
        lines = [header, "-" * 65]
        for component, split in (("generator", self.generator), ("discriminator", self.discriminator)):
            for name, row in (("train", split.train), ("test", split.test)):
                lines.append(
                    f"{component + f' ({name})':<22s} | {row.loss:<4.2f} | "
                    f"{row.generation_loss:<15.4f} | {row.auxiliary_loss:<5.4f}"
                )
        return "\n".join(lines)


class Progress(Record):
    """Where a run stands."""

    epoch: int = Field(description="The epoch being trained, from 1.")
    epochs: int
    batch: int = Field(description="Iterations done in this epoch.")
    batches: int = Field(description="Iterations an epoch.")
    images_per_second: float = Field(description="Real images consumed a second, lately.")
    eta_seconds: float = Field(description="Seconds until the run ends, at that rate.")


class EpochResult(Record):
    """What one finished epoch leaves behind."""

    epoch: int = Field(description="From 1.")
    seconds: float = Field(description="Training and evaluation together.")
    losses: EpochLosses


# ----------------------------------------------------------------------------
# As a table, for spreadsheets.


def to_csv(epochs: Sequence[EpochResult]) -> str:
    """Lay finished epochs out as CSV (RFC 4180): a header, and a line each; a figure that an epoch lacks is empty."""
    rows = [dict(_flatten(epoch.model_dump(mode="json"))) for epoch in epochs]
    columns = dict.fromkeys(name for row in rows for name in row)
    written = io.StringIO()
    writer = csv.DictWriter(written, list(columns) or ["epoch", "seconds"])
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _flatten(fields: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Name a number by its way to it, as in `generator_test_loss`; `losses` and `metrics` go without saying."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, path if name in ("losses", "metrics") else f"{path}{name}_")
        else:
            yield f"{path}{name}", value
