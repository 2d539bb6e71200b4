"""Selects the checkpoint to serve, from the pointer, the policy and the checkpoint served now. Loads no weights.

The current checkpoint stays until a better one is found. A pointer, a policy or a store that is missing or damaged
is reported as a problem, and does not stop the service.
"""

from typing import NamedTuple

from app.inference.known_store import KnownStore
from models.bounded_reading import FileInvalid
from models.registry.pointer import Latest
from models.registry.serving_policy import CHOICE, ServingPolicy, best, pinned, read_choice
from models.registry.storage.reading import Unreadable
from models.registry.store import CheckpointId, Manifest


class Target(NamedTuple):
    """The checkpoint to serve, None if none was ever published, and the problems of the store."""

    checkpoint: CheckpointId | None
    problems: list[str]


class TargetFinder:
    def __init__(self, known: KnownStore, first: CheckpointId | None) -> None:
        """`first` is the bundled checkpoint."""
        self.known = known
        self.store = known.store
        self.first = first
        self.best: CheckpointId | None = None
        self._latest: CheckpointId | None = None
        self._choice: ServingPolicy | None = None

    @property
    def choice(self) -> ServingPolicy:
        """The policy as last read."""
        return self._choice or ServingPolicy()

    def find(self, served: Manifest | None) -> Target:
        """Select the checkpoint. Raises Unreachable if the store does not answer, StoreReplaced if it was replaced."""
        problems: list[str] = []
        if unrecognised := self.known.check():
            problems.append(unrecognised)
        latest = self.store.find_latest()
        if latest.trouble:
            problems.append(latest.trouble)
        self.read_choice(problems)
        self._follow_best(latest)
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

    def _follow_best(self, latest: Latest) -> None:
        gone = self.best is not None and not self.store.stands(self.best)
        if latest.checkpoint != self._latest or gone:
            self.best, self._latest = best(self.store), latest.checkpoint

    def _wanted(self, latest: Latest, served: Manifest | None, problems: list[str]) -> CheckpointId | None:
        choice = self.choice
        own = served.checkpoint if served and served.checkpoint != self.first else None  # from the store
        if choice.policy == "pinned":
            found = self._pinned(choice)
            if found is None:
                problems.append(f"the pinned checkpoint {choice.checkpoint} does not exist")
            return found or own or latest.checkpoint or self.first
        wanted = self.best if choice.policy == "best" else latest.checkpoint
        if wanted is None and own:
            problems.append(f"the store no longer has a checkpoint: {own} is still served from memory")
        went_back = latest.trouble and served and latest.order and latest.order < served.order
        return own if own and (wanted is None or went_back) else wanted or self.first

    def _pinned(self, choice: ServingPolicy) -> CheckpointId | None:
        if self.first and choice.checkpoint == str(self.first):
            return self.first
        return pinned(self.store, choice)
