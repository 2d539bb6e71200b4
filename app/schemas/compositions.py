"""Query parameters of numbers, morphs and evolutions."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.digits import CheckpointName, Index, Seed
from models.sampling.animation import ANIMATIONS, ENCODER

if TYPE_CHECKING:
    PictureName = str
else:
    PictureName = Literal["png", *ANIMATIONS]

NUMBER = r"^[0-9]{1,40}$"


class SeedQuery(BaseModel):
    """Seed and index, and the appearance of the picture."""

    model_config = ConfigDict(extra="forbid")

    seed: Seed | None = Field(
        None, description="Random seed. The same seed always draws the same digits. If omitted, a new seed is chosen."
    )
    index: Index = Field(0, description="Index of the latent vector within the seed.")
    scale: Annotated[int, Field(ge=1, le=8)] = Field(1, description="Scale factor of the picture.")
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around the picture.")
    invert: bool = Field(False, description="Draw black on white.")

    @property
    def look(self) -> str:
        """The parameters that determine a picture apart from its digits; part of the ETag."""
        return f"{self.scale} {self.padding} {self.invert}"


class NumberQuery(SeedQuery):
    index: Index = Field(0, description="Index of the style (`hand`) or of the latent vector (`latent`) in the seed.")
    checkpoint: CheckpointName = "latest"
    style: Literal["hand", "latent"] = Field(
        "hand",
        description="`hand`: all digits in one style of writing, which the seed chooses. `latent`: all digits drawn "
        "from the latent vector of the seed; they are not alike in style.",
    )
    format: Literal["png", "npy"] = Field(
        "png",
        description="`png`: the number as one picture. `npy`: its digits before they are laid out, as a numpy array, "
        "uint8 (n, 28, 28); `scale`, `padding` and `invert` have no effect.",
    )


class FilmQuery(SeedQuery):
    milliseconds: Annotated[int, Field(ge=20, le=1000, multiple_of=10)] = Field(
        60, description="Duration of each digit in an animation, in milliseconds."
    )
    format: PictureName = Field("gif", description="`png` (a strip), or `gif` or `webp` (animated).")

    @property
    def film(self) -> str:
        """The parameters that determine an animation or strip apart from its pictures; part of the ETag."""
        return f"{self.format} {self.milliseconds} {ENCODER}"


class MorphQuery(FilmQuery):
    checkpoint: CheckpointName = "latest"
    to_seed: Seed | None = Field(None, description="Random seed of the last digit. If omitted, `seed`.")
    steps: Annotated[int, Field(ge=2, le=60)] = Field(16, description="Number of digits, including both ends.")
    format: PictureName = Field(
        "gif",
        description="`gif` or `webp`: an endless animation to the last digit and back. `png`: a strip of one way.",
    )


class EvolutionQuery(FilmQuery):
    milliseconds: Annotated[int, Field(ge=20, le=1000, multiple_of=10)] = Field(
        200, description="Duration of each epoch in an animation, in milliseconds; at least 1000 for the last epoch."
    )
    epochs: Annotated[int, Field(ge=2, le=60)] = Field(
        20, description="Maximum number of epochs. They are evenly spaced and include the first and the last."
    )
    format: PictureName = Field("png", description="`png` (a strip), or `gif` or `webp` (animated).")
    columns: Annotated[int, Field(ge=1, le=60)] = Field(10, description="Epochs per row of the strip.")
