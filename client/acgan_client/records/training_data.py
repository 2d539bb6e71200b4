"""The base of all records, and those of training data that a job makes from a file."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

# Programs print these texts as parts of commands and addresses. They are no options and contain nothing that a shell
# or a path gives a meaning. The service uses fewer characters and shorter texts.
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$")]  # of a job or a checkpoint
DataName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}(@[0-9]{1,10})?$")]  # of training data: `letters@2`


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, defer_build=True)

    shown: ClassVar[tuple[str, ...]] = ()  # fields in the repr; empty for all

    def __repr_args__(self) -> Any:
        fields = super().__repr_args__()
        return [(name, value) for name, value in fields if name in self.shown] if self.shown else fields


class ImportOptions(Record):
    """How the images of a file become training data."""

    fit: str = "mnist"
    invert: str = "auto"
    test_share: float = 1 / 7
    seed: int = 42


class TrainingDataOrder(Record):
    """A file that is to become training data."""

    name: DataName
    file: str = "upload"
    size: int
    sha256: str
    options: ImportOptions = ImportOptions()


class TrainingDataResult(Record):
    """The training data that a job made: `dataset` is its name and version."""

    dataset: DataName
    is_new: bool
    classes: list[str]
    train_images: int
    test_images: int
