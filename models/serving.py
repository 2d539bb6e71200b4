"""Which checkpoint `latest` names to a caller that asks for digits: one small file beside the checkpoints, no torch."""

from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.checkpoints import CheckpointId, CheckpointNotFound, CheckpointStore, Manifest
from models.storage.reading import read_record

CHOICE = "serving.json"
FIGURE = "frechet_distance"  # what `best` is judged by: smaller is better


class Choice(BaseModel):
    """What to serve: the newest publication, the best one, or one that is pinned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["newest", "best", "pinned"] = "newest"
    checkpoint: str | None = None


def read_choice(store: CheckpointStore) -> Choice | None:
    """Return what was chosen, None if nothing ever was. Raises FileInvalid, Unreadable and Unreachable."""
    try:
        return read_record(store.shelf, CHOICE, Choice)
    except FileNotFoundError:
        return None


def write_choice(store: CheckpointStore, choice: Choice, must_exist: bool = True) -> None:
    """Store what to serve. Raises CheckpointNotFound if what is pinned was deleted, and OSError; nothing changes then.

    `must_exist` is False for a checkpoint of another store, as the package's own.
    """

    def step() -> None:
        if choice.checkpoint and must_exist and not store.stands(CheckpointId.parse(choice.checkpoint)):
            raise CheckpointNotFound(f"there is no checkpoint {choice.checkpoint}: see GET /checkpoints")
        store.shelf.write(CHOICE, choice.model_dump_json().encode())

    store.shelf.alone(step)


def pinned(store: CheckpointStore, choice: Choice | None) -> CheckpointId | None:
    """Find what is pinned, unless it is gone."""
    if choice and choice.policy == "pinned" and choice.checkpoint:
        with suppress(CheckpointNotFound):
            checkpoint = CheckpointId.parse(choice.checkpoint)
            if store.stands(checkpoint):
                return checkpoint
    return None


def best(store: CheckpointStore) -> CheckpointId | None:
    """Find the best of those that carry quality figures; else the newest."""
    judged = [each for each in store.manifests() if FIGURE in each.metrics and each.refused is None]
    return min(judged, key=_figure).checkpoint if judged else store.latest()


def _figure(manifest: Manifest) -> float:
    return manifest.metrics[FIGURE]
