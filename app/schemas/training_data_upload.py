"""The query of a file that is to become training data."""

from pydantic import ConfigDict, Field

from models.data.building.options import ImportOptions
from models.data.building.order import FileName, TrainingDataOrder


class UploadQuery(ImportOptions):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: FileName = Field("upload", description="Name of the file, for messages.", examples=["letters.zip"])

    def order(self, name: str, size: int, sha256: str) -> TrainingDataOrder:
        options = ImportOptions(**self.model_dump(include=set(ImportOptions.model_fields)))
        return TrainingDataOrder(name=name, file=self.file, size=size, sha256=sha256, options=options)
