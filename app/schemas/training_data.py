"""Response bodies of training data: the built-in sets, and those that users brought."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, Field

from app.schemas.links import Link
from models.data.catalog import DATASETS
from models.data.reference import Reference
from models.records import Record
from models.registry.store import Manifest
from models.registry.training_data import TrainingDataManifest


class TrainingDataLinks(Record):
    self: Link
    preview: Link = Field(description="A picture of some of its images. A built-in set may have none yet.")
    images: Link | None = Field(
        description="URL of images that its newest checkpoint draws. Replace `{label}` with the name of a class. "
        "Null without a checkpoint."
    )


class Trained(NamedTuple):
    """The checkpoints that were trained on some training data."""

    number: int
    newest: str | None

    @classmethod
    def on(cls, reference: Reference, manifests: Iterable[Manifest]) -> "Trained":
        """Select from manifests, oldest first. Without a version, those of all versions count."""
        found = [each for each in manifests if reference.means(each.config.dataset)]
        servable = [each for each in found if each.refused is None]
        return cls(len(found), servable[-1].id if servable else None)


class TrainingDataView(Record):
    """Training data that a run can name."""

    name: str = Field(examples=["letters"])
    version: int | None = Field(
        description="The version that is described: the newest if the request names none. Null for a built-in set."
    )
    versions: list[int] = Field(description="All versions, oldest first. Empty for a built-in set.")
    built_in: bool
    title: str
    description: str
    classes: list[str] = Field(description="Names of the classes, by label.")
    train_images: int
    test_images: int
    train_counts: list[int] | None = Field(description="Training images of each class; null if unknown.")
    test_counts: list[int] | None = Field(description="Test images of each class; null if unknown.")
    source: str = Field(description="What the images were read from.")
    options: dict[str, str | int | float | None] = Field({}, description="How the images were fitted and split.")
    warnings: list[str] = Field([], description="What was left out or is unusual, such as files that were skipped.")
    created_at: datetime | None = Field(description="Null for a built-in set.")
    size: int | None = Field(description="Size of its files in the store, in bytes. Null for a built-in set.")
    checkpoints: int = Field(description="Checkpoints trained on it: on any version if the request names none.")
    newest_checkpoint: str | None = Field(description="Id of the newest of them that may be served.")
    links: TrainingDataLinks

    @classmethod
    def of_built_in(cls, name: str, manifests: Iterable[Manifest]) -> "TrainingDataView":
        data = DATASETS[name]
        return cls(
            name=name,
            version=None,
            versions=[],
            built_in=True,
            title=data.title,
            description=data.description,
            classes=list(data.classes),
            train_images=data.sizes[0],
            test_images=data.sizes[1],
            train_counts=None,
            test_counts=None,
            source=data.archive.address if data.archive else " ".join(data.mirrors) or "drawn by this program",
            created_at=None,
            size=None,
            **_trained(Reference(name), manifests),
        )

    @classmethod
    def of_brought(
        cls, asked: Reference, found: TrainingDataManifest, versions: Sequence[int], manifests: Iterable[Manifest]
    ) -> "TrainingDataView":
        """Describe a version. `asked` is the name in the request, with or without the version."""
        return cls(
            name=found.name,
            version=found.version,
            versions=list(versions),
            built_in=False,
            title=found.name,
            description=f"{len(found.classes)} classes, brought by a user",
            classes=list(found.classes),
            train_images=sum(found.train_counts),
            test_images=sum(found.test_counts),
            train_counts=list(found.train_counts),
            test_counts=list(found.test_counts),
            source=found.source,
            options=found.options,
            warnings=found.warnings,
            created_at=found.created_at,
            size=found.total_size,
            **_trained(asked, manifests),
        )


class TrainingDataList(BaseModel):
    training_data: list[TrainingDataView] = Field(
        description="The built-in sets, then the newest version of each set that users brought, sorted by name."
    )


def _trained(reference: Reference, manifests: Iterable[Manifest]) -> dict[str, object]:
    """Return the fields about checkpoints, and the links."""
    number, newest = Trained.on(reference, manifests)
    here = f"/training-data/{reference}"
    images = f"/images/{reference}/{{label}}?n=40" if newest else None
    links = TrainingDataLinks(self=here, preview=f"{here}/preview.png", images=images)
    return {"checkpoints": number, "newest_checkpoint": newest, "links": links}
