"""The owner's work on a data set: it draws parts, fetches those that helpers drew, and never waits long for them."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import redis
from kombu.exceptions import OperationalError

from models.synthesis.order import Part, Provenance
from models.synthesis.shards import Contributions
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import RunsOn
from worker.lifecycle.retry import pause

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

WORTH_HELP = 4  # parts; fewer are drawn before a helper has started
LOOK_SECONDS = 0.1


@dataclass
class Host:
    """Decides which part comes next. A context manager: at its exit, no more helpers are accepted.

    Helpers are optional: the owner draws the parts that they do not deliver, and all parts if Redis or the store does
    not respond. It waits for a helper's part no longer than drawing one takes.
    """

    consumer: JobConsumer
    sharing: Sharing
    shared: Shared
    contributions: Contributions
    workshop: Path
    origin: Provenance  # records the helpers
    seconds: float  # for which a part is reserved for the owner; more if drawing takes longer
    check: Callable[[], None]
    notify_workers: Callable[[RunsOn], None]  # notifies an idle worker

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.decline()

    def __call__(self, missing: list[Part]) -> Iterator[Part]:
        """Yield each part once. The caller draws it, unless its file is already in the workshop."""
        left = {part.name: part for part in missing}
        lying = self.attempt("parts of helpers cannot be listed", self.contributions.names, set[str]())
        for name in [name for name in left if name in lying]:
            yield self.bring(left.pop(name))
        if len(left) >= WORTH_HELP and self.attempt("no help is requested", lambda: self.welcome(list(left)), False):
            yield from self.share(left)
            self.decline()
        yield from left.values()
        helpers = self.attempt("helpers are not known", lambda: self.sharing.helpers(self.shared.job), dict[str, int]())
        self.origin.helpers.update(helpers)

    def welcome(self, names: list[str]) -> bool:
        """Accept helpers and notify one; each helper that starts notifies the next. Returns whether they may help."""
        if not self.sharing.welcome(self.shared, names):
            return False
        runs_on = self.shared.runs_on
        if not self.consumer.waiting(runs_on) and not self.consumer.notifications(runs_on):
            self.notify_workers(runs_on)
        return True

    def share(self, left: dict[str, Part]) -> Iterator[Part]:
        """Yield parts until none are left: those that helpers handed over, and those that the owner took."""
        took, since = 0.0, time.monotonic()
        while left:
            ours, missing = self.look(left)
            for name in sorted(left.keys() - missing):
                yield self.bring(left.pop(name))
                since = time.monotonic()
            if ours is None and time.monotonic() - since > took:
                ours = next((name for name in missing if name in left), None)
            if ours is None:
                pause(LOOK_SECONDS if left else 0, self.check)
                continue
            if ours in left:
                begun = time.monotonic()
                yield left.pop(ours)
                since = time.monotonic()
                took = since - begun
                self.seconds = max(self.seconds, 3 * took)
            self.attempt("a part is not marked", lambda: self.sharing.done(self.shared, ours), None)  # noqa: B023

    def look(self, left: dict[str, Part]) -> tuple[str | None, list[str]]:
        """Return the part that the owner has taken now, if any, and all parts that are not handed over yet."""

        def ask() -> tuple[str | None, list[str]]:
            return self.sharing.take(self.shared, self.seconds), self.sharing.missing(self.shared)

        alone: tuple[str | None, list[str]] = (next(iter(left)), list(left))
        return self.attempt("the assignment of parts is unavailable", ask, alone)

    def bring(self, part: Part) -> Part:
        """Copy a helper's part into the workshop, if possible."""
        there = self.attempt(
            f"part {part.name} cannot be fetched", lambda: self.contributions.bring(part, self.workshop), False
        )
        if not there:
            logger.warning("job %s: part %s is missing or damaged", self.shared.job, part.name)
        return part

    def decline(self) -> None:
        self.attempt("helpers cannot be dismissed", lambda: self.sharing.decline(self.shared), None)

    def attempt(self, trouble: str, step: Callable[[], Result], otherwise: Result) -> Result:
        """Run a step that involves helpers. If it fails, log this and return `otherwise`."""
        try:
            return step()
        except (redis.RedisError, OperationalError, OSError) as error:
            logger.warning("job %s: %s: %s", self.shared.job, trouble, error)
            return otherwise
