"""How images that a user brings become training data. The descriptions are those of the command and the API.

It imports no library that is slow to load, because the commands read it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["mnist", "resize"]  # as in models/data/importing/normalise.py, which loads Pillow
Invert = Literal["auto", "yes", "no"]

FIT = (
    "How a picture becomes 28 x 28: `mnist` crops it to its ink, scales that into 20 x 20 and centres it by mass; "
    "`resize` scales the whole picture."
)
INVERT = (
    "Whether pictures have dark ink on a bright background: `yes`, `no`, or `auto`, which decides once for all "
    "pictures by their borders."
)
TEST_SHARE = "Share of each class that becomes test images, if the source has no test images of its own."
SEED = "Seed of the split and of the order of the images."


class ImportOptions(BaseModel):
    """The same source and options always give the same training data."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fit: Mode = Field("mnist", description=FIT)
    invert: Invert = Field("auto", description=INVERT)
    test_share: float = Field(1 / 7, gt=0, lt=1, description=f"{TEST_SHARE} 1/7 is MNIST's share.")
    seed: int = Field(42, ge=0, lt=2**53, description=SEED)
