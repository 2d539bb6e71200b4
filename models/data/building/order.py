"""A file that is to become training data, and what became of it. These are parts of a job's record."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.data.building.options import ImportOptions
from models.data.reference import NAME

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
A_FILE_NAME = "a file name: 1 to 100 letters, digits, `.`, `_` and `-`, of which the first is a letter or a digit"

FileName = Annotated[str, Field(pattern=FILE_NAME)]


class TrainingDataOrder(BaseModel):
    """A file that is to become training data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=rf"^{NAME}$", description="Name of the training data.", examples=["letters"])
    file: FileName = Field("upload", description="Name of the file, for messages.", examples=["letters.zip"])
    size: int = Field(ge=0, description="Size of the file in bytes.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file.")
    options: ImportOptions = ImportOptions()


class TrainingDataResult(BaseModel):
    """The training data that was made from a file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str = Field(description="Name and version of the training data.", examples=["letters@2"])
    is_new: bool = Field(description="False if the newest version had the same content already.")
    classes: tuple[str, ...] = Field(description="Names of the classes, by label.")
    train_images: int = Field(description="Number of training images.")
    test_images: int = Field(description="Number of test images.")
