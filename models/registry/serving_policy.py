"""The serving policy selects the checkpoint that `latest` means in requests for digits. Without torch.

The newest and the best checkpoint are those of one data set.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from models.data.catalog import DEFAULT
from models.errors import Conflict
from models.evaluation.evaluation_records import packaged_judge
from models.registry.evaluations import best_evaluation, has_evaluation, listed_evaluations
from models.registry.storage.reading import read_record, seal
from models.registry.store import CheckpointId, CheckpointNotFound, CheckpointStore, Manifest

CHOICE = "serving.json"
SUBSTITUTE = "printed"  # drawn while no checkpoint of MNIST was published
FIGURE = "frechet_distance"  # metric that determines `best`: smaller is better
EARLIER_DIGITS = 500  # of each class, judged if the metrics do not say how many: the bundled and earlier checkpoints


Judged = Literal["epoch", "evaluation"]


class ServingPolicy(BaseModel):
    """The serving policy: the newest checkpoint of a data set, the best one, or a pinned one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["newest", "best", "pinned"] = "newest"
    checkpoint: str | None = None
    by: Judged = Field(
        "epoch",
        description="What `best` goes by: the metrics of each epoch, or the Frechet distance of evaluations. Then a "
        "checkpoint without an evaluation is not the best, unless none has one.",
        exclude_if=lambda by: by == "epoch",  # an older version does not read it
    )
    dataset: str | None = Field(
        None,
        description="Training data of the newest or best checkpoint. If null, `mnist`; but `printed` while only that "
        "has a checkpoint to serve.",
    )


def read_choice(store: CheckpointStore) -> ServingPolicy | None:
    """Return the stored policy; None if there is none. Raises FileInvalid, Unreadable or Unreachable."""
    try:
        return read_record(store.storage, CHOICE, ServingPolicy)
    except FileNotFoundError:
        return None


class PolicyChanged(Conflict, code="precondition-failed"):
    """The serving policy is another one than the caller expects."""


Expected = Callable[[ServingPolicy], bool]


def write_choice(
    store: CheckpointStore, choice: ServingPolicy, must_exist: bool = True, expected: Expected | None = None
) -> None:
    """Store the policy. Raises CheckpointNotFound if the pinned checkpoint does not exist, and OSError.

    Raises PolicyChanged if `expected` is false for the stored policy. No other write comes between check and write.

    After an error the policy is unchanged. `must_exist` is False for a checkpoint of another store, such as the bundled
    one.
    """

    def step() -> None:
        if expected is not None and not expected(read_choice(store) or ServingPolicy()):
            raise PolicyChanged("the serving policy was changed meanwhile")
        if choice.checkpoint and must_exist and not store.stands(CheckpointId.parse(choice.checkpoint)):
            raise CheckpointNotFound(f"there is no checkpoint {choice.checkpoint}")
        store.storage.write(CHOICE, seal(choice))

    store.storage.alone(step)


def pinned(store: CheckpointStore, choice: ServingPolicy | None) -> CheckpointId | None:
    """Return the pinned checkpoint; None if there is none or it was deleted."""
    if choice and choice.policy == "pinned" and choice.checkpoint:
        with suppress(CheckpointNotFound):
            checkpoint = CheckpointId.parse(choice.checkpoint)
            if store.stands(checkpoint):
                return checkpoint
    return None


def drawn_dataset(choice: ServingPolicy, published: Collection[str]) -> str:
    """Return the training data of the generator to serve, given those that have a checkpoint."""
    if choice.dataset is not None:
        return choice.dataset
    return SUBSTITUTE if DEFAULT not in published and SUBSTITUTE in published else DEFAULT


def newest_drawn(store: CheckpointStore) -> CheckpointId | None:
    """Return the newest checkpoint to serve if no policy was chosen; None if nothing was published for digits."""
    newest = store.find_latest().datasets
    found = newest.get(drawn_dataset(ServingPolicy(), newest))
    return found and found.checkpoint


class Best(NamedTuple):
    """The best checkpoint of a data set, and the job whose evaluation makes it the best, if evaluations count."""

    checkpoint: CheckpointId
    evaluation: str | None = None

    def stands(self, store: CheckpointStore) -> bool:
        """Return whether the checkpoint and the evaluation exist. Raises OSError."""
        return store.stands(self.checkpoint) and (
            self.evaluation is None or has_evaluation(store.storage, self.evaluation)
        )


def find_best(store: CheckpointStore, dataset: str, by: Judged = "epoch") -> Best | None:
    """Return the best checkpoint of a data set that has quality metrics and is not refused; else the newest.

    By evaluations, if `by` says so and there are any. Raises FileInvalid, OSError.
    """
    manifests = store.manifests()
    if by == "evaluation" and (chosen := best_evaluation(manifests, listed_evaluations(store.storage), dataset)):
        return Best(CheckpointId.parse(chosen.checkpoint), chosen.job)
    found = best_of(manifests, dataset) or store.latest(dataset)
    return found and Best(found)


def best_of(manifests: Iterable[Manifest], dataset: str) -> CheckpointId | None:
    """Return the best of these checkpoints that was trained on a data set; None if none of them has metrics.

    Only those of its version that has the newest checkpoint count, and of these, those that were judged as the newest
    judged one: distances by other judges, or of another number of digits, cannot be compared.
    """
    servable = [each for each in manifests if each.dataset_name == dataset and each.refused is None]
    last = max(servable, key=lambda each: each.order, default=None)
    judged = [
        each for each in servable if FIGURE in each.metrics and last and each.config.dataset == last.config.dataset
    ]
    if not judged:
        return None
    scale = scale_of(max(judged, key=lambda each: each.order))
    return min((each for each in judged if scale_of(each) == scale), key=lambda each: each.metrics[FIGURE]).checkpoint


class Scale(NamedTuple):
    """What two Frechet distances have in common if they can be compared."""

    digits: float  # judged of each class
    judge: str  # that of the package, or the checksum of the data, cut as for the run, on which one was trained


def scale_of(manifest: Manifest) -> Scale:
    is_packaged = packaged_judge(manifest.config.dataset, "choosing") is not None
    digits = manifest.metrics.get("judged_per_class", EARLIER_DIGITS)
    return Scale(digits, "packaged" if is_packaged else manifest.dataset_checksum)


def none_passed(refused: Sequence[Manifest]) -> str:
    """Say how many checkpoints exist, oldest first, and why the quality gate refused the newest."""
    if len(refused) == 1:
        return f"1 exists, and did not pass the quality check: {refused[0].refused}"
    return f"{len(refused)} exist, and none passed the quality check; the newest: {refused[-1].refused}"
