"""Selects the checkpoint to serve, from the pointer, the policy and the checkpoint served now. Loads no weights.

The current checkpoint stays until a better one is found. A pointer, a policy or a store that is missing or damaged
is reported as a problem, and does not stop the service.
"""

from collections.abc import Mapping
from typing import NamedTuple

from app.inference.known_store import KnownStore
from models.bounded_reading import FileInvalid
from models.data.catalog import DEFAULT, DIGITS
from models.errors import Conflict
from models.registry.evaluations import read_list
from models.registry.pointer import Latest, Newest, Revision
from models.registry.serving_policy import CHOICE, Best, ServingPolicy, drawn_dataset, find_best, pinned, read_choice
from models.registry.storage.reading import Unreadable
from models.registry.store import CheckpointId, Manifest


class NotDigits(Conflict, code="not-digits"):
    """The checkpoint, or the data set, draws other classes than the ten digits."""


def require_digits(manifest: Manifest) -> None:
    """Raises NotDigits if the classes of a checkpoint are not the ten digits."""
    if manifest.class_names != DIGITS:
        dataset = manifest.dataset_name
        raise NotDigits(
            f"{manifest.id} draws the classes of {dataset}, which are not the ten digits",
            dataset=dataset,
            checkpoint=manifest.id,
        )


class Target(NamedTuple):
    """The checkpoint to serve, None if none was published for this data set, and the problems of the store."""

    checkpoint: CheckpointId | None
    problems: list[str]


class TargetFinder:
    def __init__(self, known: KnownStore, first: CheckpointId | None) -> None:
        """`first` is the bundled checkpoint."""
        self.known = known
        self.store = known.store
        self.first = first
        self.dataset = DEFAULT  # whose digits are drawn
        self.published: Mapping[str, Newest] = {}  # the newest checkpoint of each data set
        self._best: Best | None = None
        self._followed: tuple[object, ...] = ()  # data set, publications and evaluations when `best` was found
        self._choice: ServingPolicy | None = None

    @property
    def choice(self) -> ServingPolicy:
        """The policy as last read."""
        return self._choice or ServingPolicy()

    @property
    def best(self) -> CheckpointId | None:
        """The best checkpoint of the data set being served."""
        return self._best and self._best.checkpoint

    def find(self, served: Manifest | None) -> Target:
        """Select the checkpoint. Raises Unreachable if the store does not answer, StoreReplaced if it was replaced."""
        problems: list[str] = []
        if unrecognised := self.known.check():
            problems.append(unrecognised)
        latest = self.store.find_latest()
        if latest.trouble:
            problems.append(latest.trouble)
        self.read_choice(problems)
        self.published = latest.datasets
        self.dataset = self._dataset(served)
        self._follow_best(latest.revision_of(self.dataset), problems)
        return Target(self._wanted(latest, served, problems), problems)

    def read_choice(self, problems: list[str]) -> ServingPolicy:
        """Read the policy; if that fails, the last one stays in effect."""
        try:
            found = read_choice(self.store)
        except (FileInvalid, Unreadable) as error:
            problems.append(str(error))
            return self.choice
        if found is None and self._choice is not None:
            problems.append(f"{CHOICE} is missing: the policy {self._choice.policy} stays in effect")
        self._choice = found or self._choice
        return self.choice

    def _dataset(self, served: Manifest | None) -> str:
        """Return the training data of the generator to serve.

        If all checkpoints of MNIST are lost while one is served, printed digits do not replace it.
        """
        dataset = drawn_dataset(self.choice, self.published)
        is_lost = served is not None and served.checkpoint != self.first and served.dataset_name == DEFAULT
        return DEFAULT if is_lost and self.choice.dataset is None else dataset

    def _follow_best(self, revision: Revision, problems: list[str]) -> None:
        by = self.choice.by
        try:
            evaluations = read_list(self.store.storage) if by == "evaluation" else None
            following = self.dataset, revision, by, evaluations
            if self._followed != following or not (self._best is None or self._best.stands(self.store)):
                self._best, self._followed = find_best(self.store, self.dataset, by), following
        except (FileInvalid, Unreadable) as error:
            problems.append(f"the best checkpoint stays the same: {error}")

    def _wanted(self, latest: Latest, served: Manifest | None, problems: list[str]) -> CheckpointId | None:
        choice, newest = self.choice, self.published.get(self.dataset)
        last = newest and newest.checkpoint
        own = served.checkpoint if served and served.checkpoint != self.first else None  # from the store
        if choice.policy == "pinned":
            found = self._pinned(choice)
            if found is None:
                problems.append(f"the pinned checkpoint {choice.checkpoint} does not exist")
            return found or own or last or self.first
        own = own if served and served.dataset_name == self.dataset else None
        wanted = self.best if choice.policy == "best" else last
        if wanted is None and own:
            problems.append(f"the store no longer has a checkpoint: {own} is still served from memory")
        is_older = own and newest and served and newest.order < served.order
        return own if own and (wanted is None or (latest.trouble and is_older)) else wanted or self.first

    def _pinned(self, choice: ServingPolicy) -> CheckpointId | None:
        if self.first and choice.checkpoint == str(self.first):
            return self.first
        return pinned(self.store, choice)
