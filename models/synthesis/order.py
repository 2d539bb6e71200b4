"""Generated data sets: the order, its files, and their manifest. Free of torch."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from models.bounded_reading import FileMissing, parse_record, read_bounded
from models.config import IMAGE_SIZE, NUM_CLASSES, WHOLE
from models.data.catalog import DIGITS

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
PARTS = "parts"
PART = 500  # digits of each class in a part: about a second of drawing
MOST = 500_000  # digits of each class: five million in total

# An IDX file is one gzip member (RFC 1952). Its deflate stream joins those of the parts, each flushed to a whole byte.


class DatasetOrder(BaseModel):
    """Which digits to generate. The number of classes is that of the checkpoint; the default is that of digits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(6000, description="Training digits of each class.")
    test_per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(
        1000, description="Test digits of each class. Their indices follow those of the training digits."
    )
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] = Field(
        1, description="Random seed. The same seed always gives the same digits."
    )
    checkpoint: Annotated[str, Field(max_length=100)] = Field(
        "latest",
        description="Checkpoint that draws: `latest`, `best` or an id. Becomes an id when the order is accepted.",
    )
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Least probability that the judge must give to the label of a digit; digits below it are "
        "drawn again.",
    )

    @property
    def splits(self) -> "list[Split]":
        return self.splits_of(NUM_CLASSES)

    def splits_of(self, classes: int) -> "list[Split]":
        return [
            Split("train", self.per_class, 0, classes),
            Split("t10k", self.test_per_class, self.per_class, classes),
        ]

    @property
    def parts(self) -> "list[Part]":
        return self.parts_of(NUM_CLASSES)

    def parts_of(self, classes: int) -> "list[Part]":
        return [part for split in self.splits_of(classes) for part in split.parts]

    @property
    def stride(self) -> int:
        """Distance between the index of a digit and that of its first redraw."""
        return self.per_class + self.test_per_class

    @property
    def digits(self) -> int:
        """The number of images of ten classes."""
        return self.stride * NUM_CLASSES


class Split(NamedTuple):
    name: str
    n: int  # of each class
    first: int  # index
    classes: int = NUM_CLASSES

    @property
    def examples(self) -> int:
        return self.n * self.classes

    @property
    def parts(self) -> "list[Part]":
        starts = range(0, self.n, PART)
        return [Part(f"{self.name}-{at:07d}", self.first + at, min(PART, self.n - at), self.classes) for at in starts]

    @property
    def images(self) -> str:
        return f"{self.name}-images-idx3-ubyte.gz"

    @property
    def labels(self) -> str:
        return f"{self.name}-labels-idx1-ubyte.gz"

    @property
    def redraws(self) -> str:
        return f"{self.name}-redraws-idx1-ubyte.gz"


class Part(NamedTuple):
    name: str
    first: int  # index
    n: int  # of each class
    classes: int = NUM_CLASSES

    @property
    def digits(self) -> int:
        return self.n * self.classes


class DatasetFile(BaseModel):
    sha256: str = Field(description="SHA-256 of the file as stored.")
    size: int = Field(description="In bytes.")
    unpacked_sha256: str = Field(
        description="SHA-256 of the uncompressed content, which does not depend on the compressor."
    )
    examples: int
    first_index: int = Field(
        description="With K classes, example k is digit first_index + k // K of label k % K; if it was drawn again r "
        "times, its index is r * (per_class + test_per_class) higher."
    )


class Provenance(BaseModel):
    """The generator, devices and code that drew a data set, or a part of it."""

    generator_sha256: str
    device: str
    helpers: dict[str, int] = Field({}, description="Devices of helping workers: parts drawn on each.")
    code_version: str

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(" ")[0].partition(":")[0]

    def draws_like(self, other: "Provenance") -> bool:
        """Whether both draw the same bytes for a part."""
        mine = (self.generator_sha256, self.code_version, self.device_type)
        return mine == (other.generator_sha256, other.code_version, other.device_type)


class DatasetManifest(Provenance):
    """Description of a generated data set: its order, provenance and files."""

    model_config = ConfigDict(extra="ignore")

    order: DatasetOrder
    created_at: datetime
    files: dict[str, DatasetFile]
    classes: list[str] = Field(list(DIGITS), description="The name of each label, from 0.")

    @property
    def splits(self) -> list[Split]:
        return self.order.splits_of(len(self.classes))

    @property
    def examples(self) -> int:
        """The number of images in both splits."""
        return sum(split.examples for split in self.splits)


FILES = [name for split in DatasetOrder().splits for name in (split.images, split.labels, split.redraws)]


def part_limit(part: Part) -> int:
    """Return the largest size of a part in bytes: incompressible pixels grow by less than a thousandth."""
    return 1024 + part.digits * (IMAGE_SIZE**2 + 2)


def read_manifest(folder: Path) -> DatasetManifest | None:
    """Read the manifest of a data set; None if the data set is not finished. Raises FileFault."""
    try:
        data = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
        return parse_record(DatasetManifest, data, MANIFEST_LIMIT, str(folder / MANIFEST))
    except FileMissing:
        return None
