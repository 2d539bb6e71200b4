"""How pictures made of digits are asked for, beyond sheets of them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import CheckpointName, Index, Seed
from models.films import ENCODER

NUMBER = r"^[0-9]{1,40}$"


class HandQuery(BaseModel):
    """Whose hand draws, and how large."""

    model_config = ConfigDict(extra="forbid")

    seed: Seed | None = Field(None, description="The hand that writes. A fresh one where it is left out.")
    index: Index = Field(0, description="Which of the seed's latents.")
    scale: Annotated[int, Field(ge=1, le=8)] = Field(1, description="Pixels of the picture a pixel of the digit.")
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around the picture.")
    invert: bool = Field(False, description="Black on white.")

    @property
    def look(self) -> str:
        """All that decides a picture beside its pixels' address."""
        return f"{self.scale} {self.padding} {self.invert}"


class NumberQuery(HandQuery):
    checkpoint: CheckpointName = "latest"


class FilmQuery(HandQuery):
    milliseconds: Annotated[int, Field(ge=20, le=1000, multiple_of=10)] = Field(
        60, description="How long a film shows each digit."
    )
    format: Literal["png", "gif", "webp"] = Field("gif", description="A strip, or a film.")

    @property
    def film(self) -> str:
        """All that decides a film, or a strip, beside its pictures."""
        return f"{self.format} {self.milliseconds} {ENCODER}"


class MorphQuery(FilmQuery):
    checkpoint: CheckpointName = "latest"
    to_seed: Seed | None = Field(None, description="The hand that writes the last digit, where it is another.")
    steps: Annotated[int, Field(ge=2, le=60)] = Field(16, description="Digits on the way, first and last among them.")
    format: Literal["png", "gif", "webp"] = Field(
        "gif", description="A film that goes there and back, over and over; or as `png` a strip of the way there."
    )


class EvolutionQuery(FilmQuery):
    milliseconds: Annotated[int, Field(ge=20, le=1000, multiple_of=10)] = Field(
        200, description="How long a film shows each epoch; the last for a second at least."
    )
    epochs: Annotated[int, Field(ge=2, le=60)] = Field(
        20, description="How many epochs, at most: evenly chosen, first and last among them."
    )
    format: Literal["png", "gif", "webp"] = Field("png", description="A strip, or a film.")
    columns: Annotated[int, Field(ge=1, le=60)] = Field(10, description="Epochs a row of the strip.")
