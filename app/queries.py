"""How pictures made of digits are asked for, beyond sheets of them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import CheckpointName, Index, Seed

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
