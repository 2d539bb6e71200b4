"""Query parameters of digits."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.config import MAX_SEED
from models.sampling.formats import FORMATS, Look

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Index = Annotated[int, Field(ge=0, le=2**40)]
CheckpointName = Annotated[
    str,
    Field(
        max_length=100,
        description="The generator: `latest` (the one being served), `best`, or a checkpoint's id.",
    ),
]


class SheetQuery(BaseModel):
    """Query parameters of every endpoint that returns sheets of digits."""

    model_config = ConfigDict(extra="forbid")

    n: int
    seed: Seed | None = Field(
        None, description="Random seed. The same seed always draws the same digits. If omitted, a new seed is chosen."
    )
    index: Index = Field(0, description="Index of the first digit within the seed.")
    checkpoint: CheckpointName = "latest"
    format: FormatName | None = Field(
        None,
        description=", ".join(f"`{name}` ({form.description})" for name, form in FORMATS.items())
        + ". If omitted, `Accept` decides; without it, `png`.",
    )
    columns: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Digits per row of the sheet. If omitted, 10, or `n` if that is smaller."
    )
    scale: Annotated[int, Field(ge=1, le=8)] = Field(1, description="Scale factor of the picture.")
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around and between the digits.")
    invert: bool = Field(False, description="Draw black on white.")

    @property
    def look(self) -> Look:
        return Look(self.columns, self.scale, self.padding, self.invert)


class DigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="Number of digits.")
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Least probability that the judge must give to each digit's label. Digits below it are replaced "
        "by later ones of the same seed.",
    )


class ImagesQuery(DigitsQuery):
    checkpoint: CheckpointName = Field(
        "latest",
        description="The generator: `latest` or `best` of the data set, or the id of one of its checkpoints.",
    )


class AllDigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Number of digits of each class.")


class AllImagesQuery(AllDigitsQuery):
    checkpoint: CheckpointName = Field(
        "latest",
        description="The generator: `latest` or `best` of the data set, or the id of one of its checkpoints.",
    )
