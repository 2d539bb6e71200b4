"""Query parameters of the nearest training images and of points around an address."""

from typing import Annotated, Literal

from pydantic import Field

from app.schemas.compositions import SeedQuery
from app.schemas.digits import CheckpointName, Index

FORMATS = {"png": "image/png", "npy": "application/x-npy"}
FARTHEST = 100.0  # radians

Format = Literal["png", "npy"]
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Cells = Annotated[int, Field(ge=1, le=11)]


class ExplorationQuery(SeedQuery):
    """An address, and how it is shown."""

    index: Index = Field(0, description="Index of the image within the seed.")
    checkpoint: CheckpointName = "latest"
    format: Format = Field(
        "png",
        description="`png`: one sheet. `npy`: the images as a numpy array, uint8 (n, 28, 28), in the same order; "
        "`scale`, `padding` and `invert` have no effect.",
    )
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around and between the images.")


class NeighboursQuery(ExplorationQuery):
    n: Annotated[int, Field(ge=1, le=10)] = Field(3, description="Number of training images.")


class TraversalQuery(ExplorationQuery):
    x: Coordinate = Field(0, description="Position of the middle of the grid, to the right of the address, in radians.")
    y: Coordinate = Field(0, description="The same, below the address.")
    step: Annotated[float, Field(ge=0.01, le=1)] = Field(
        0.3, description="Angle between neighbouring points, in radians. Latents 1.57 apart are independent."
    )
    rows: Cells = Field(5, description="Points from top to bottom.")
    columns: Cells = Field(5, description="Points from left to right.")
    directions: Annotated[int, Field(ge=0, le=2**20)] = Field(
        0, description="Which pair of random directions the axes have. Each number is another pair."
    )
