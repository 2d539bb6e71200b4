"""Request and response bodies of checkpoints and of the serving policy."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.schemas.jobs import Label
from app.schemas.links import Link
from models.config import DatasetName, RecipeName
from models.data.catalog import DEFAULT, DIGITS
from models.registry import bundled
from models.registry.serving_policy import Judged, ServingPolicy
from models.registry.store import Manifest, Unusable


class CheckpointView(Manifest):
    size: int = Field(description="Size of all files, in bytes.")
    links: dict[str, Link]

    @classmethod
    def of(cls, manifest: Manifest) -> "CheckpointView":
        links = {
            "self": f"/checkpoints/{manifest.id}",
            "images": f"/images/{manifest.dataset_name}/{{label}}?n=40&checkpoint={manifest.id}",
            "files": f"/checkpoints/{manifest.id}/{{file}}",
            "exports": f"/checkpoints/{manifest.id}/exports/{{file}}",
            "evaluations": f"/evaluations?checkpoint={manifest.id}",
        }
        if manifest.class_names == DIGITS:
            links["digits"] = f"/digits/{{label}}?n=40&checkpoint={manifest.id}"
        if manifest.job != bundled.JOB:  # the bundled checkpoint belongs to no job of this service
            if manifest.losses is not None:  # an imported checkpoint belongs to none either
                links["job"] = f"/jobs/{manifest.job}"
            links["samples"] = f"/jobs/{manifest.job}/epochs/{manifest.epoch}/samples.png"
        return cls(**dict(manifest), size=manifest.total_size, links=links)


class UnusableCheckpoint(BaseModel):
    """A checkpoint that exists and cannot be used."""

    id: str
    job: str
    epoch: int
    reason: str = Field(description="The error in its manifest.")
    written_by_another_version: bool = Field(
        description="If true, the checkpoint is intact and is never deleted. Another version of acgan can use it."
    )

    @classmethod
    def of(cls, found: Unusable) -> "UnusableCheckpoint":
        job, epoch = found.checkpoint
        return cls(
            id=str(found.checkpoint),
            job=job,
            epoch=epoch,
            reason=found.reason,
            written_by_another_version=not found.understood,
        )


class CheckpointList(BaseModel):
    serving: str | None = Field(description="Id of the checkpoint that `latest` refers to in this process.")
    checkpoints: list[CheckpointView] = Field(description="Newest first.")
    unusable: list[UnusableCheckpoint] = Field([], description="Checkpoints that cannot be used, with the reason.")


class ImportQuery(BaseModel):
    """What is known about an imported generator besides its weights."""

    model_config = ConfigDict(extra="forbid")

    name: Label | None = Field(None, description="A label of the checkpoint: one line of text.")
    dataset: DatasetName = Field(DEFAULT, description="Training data of the generator. Its judge is used.")
    recipe: RecipeName = Field("seed", description="Recipe that trained the generator.")


class ServingView(ServingPolicy):
    """The serving policy, and the checkpoint that `latest` refers to."""

    by: Judged = Field("epoch", description="What `best` goes by: the metrics of each epoch, or evaluations.")
    serving: str | None = Field(description="Id of the checkpoint being served by this process.")
    serving_dataset: str | None = Field(description="Training data of this checkpoint.")


class Follow(BaseModel):
    """Follow the newest or the best publication of a data set."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["newest", "best"]
    by: Judged = Field(
        "epoch", description="What `best` goes by: the metrics of each epoch, or the Frechet distance of evaluations."
    )
    dataset: DatasetName | None = Field(
        None,
        description="Training data of the generator. If null, `mnist`; while nothing was published for it, a generator "
        "of `printed` digits is served if there is one.",
    )


class FollowDataset(BaseModel):
    """Follow the newest publication of a data set."""

    model_config = ConfigDict(extra="forbid")

    dataset: DatasetName = Field(description="Training data of the generator.")


class Pin(BaseModel):
    """Serve one checkpoint permanently."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["pinned"]
    checkpoint: Annotated[str, Field(max_length=100)]


def kind_of(body: object) -> str | None:
    """Return the tag of the model for a body of `PUT /serving`; None if it names neither a policy nor a data set."""
    fields = body if isinstance(body, dict) else dict(body) if isinstance(body, BaseModel) else {}
    if "policy" not in fields and "dataset" in fields:
        return "of_dataset"
    match fields.get("policy"):
        case "pinned":
            return "pin"
        case "newest" | "best":
            return "follow"
    return None


ORDER_TAGS = ("follow", "of_dataset", "pin")
ServingOrder = Annotated[
    Annotated[Follow, Tag("follow")] | Annotated[FollowDataset, Tag("of_dataset")] | Annotated[Pin, Tag("pin")],
    Discriminator(kind_of),
]
