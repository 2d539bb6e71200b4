"""A data set's owner and those who help it: it draws, brings in what they drew, and waits for nobody for long."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import redis
from kombu.exceptions import OperationalError

from models.synthesis.order import Origin, Part
from models.synthesis.shards import Contributions
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.consumer import JobBench
from worker.jobs.model import RunsOn
from worker.lifecycle.retry import pause

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

WORTH_HELP = 4  # parts: fewer are drawn before anybody has come
LOOK_SECONDS = 0.1


@dataclass
class Host:
    """Says which part comes next. A context: after it, nobody helps any more.

    Helpers are never needed: what they do not bring, the owner draws, and so it does where Redis or the store does not
    answer. It waits for a part that a helper draws no longer than drawing one takes itself.
    """

    bench: JobBench
    sharing: Sharing
    shared: Shared
    contributions: Contributions
    workshop: Path
    origin: Origin  # is told who helped
    seconds: float  # that a part is the owner's own; more where it needs more
    check: Callable[[], None]
    knock: Callable[[RunsOn], None]  # tells an idle worker that there is something to do

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.decline()

    def __call__(self, missing: list[Part]) -> Iterator[Part]:
        """Yield each part once: it is to be drawn, unless it lies in the workshop by then."""
        left = {part.name: part for part in missing}
        lying = self.attempt("what helpers drew is not found", self.contributions.names, set[str]())
        for name in [name for name in left if name in lying]:
            yield self.bring(left.pop(name))
        if len(left) >= WORTH_HELP and self.attempt("no help is asked for", lambda: self.welcome(list(left)), False):
            yield from self.share(left)
            self.decline()
        yield from left.values()
        told = self.attempt("who helped is not known", lambda: self.sharing.helpers(self.shared.job), dict[str, int]())
        self.origin.helpers.update(told)

    def welcome(self, names: list[str]) -> bool:
        """Let others help, and tell one of them; each who comes tells the next."""
        if not self.sharing.welcome(self.shared, names):
            return False
        runs_on = self.shared.runs_on
        if not self.bench.waiting(runs_on) and not self.bench.knocks(runs_on):
            self.knock(runs_on)
        return True

    def share(self, left: dict[str, Part]) -> Iterator[Part]:
        """Yield parts until none are left, which are those that were handed over, and those that are ours."""
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
            self.attempt("a part is not ticked off", lambda: self.sharing.done(self.shared, ours), None)  # noqa: B023

    def look(self, left: dict[str, Part]) -> tuple[str | None, list[str]]:
        """Return a part that is ours now, if there is one, and all that nobody has handed over."""

        def ask() -> tuple[str | None, list[str]]:
            return self.sharing.take(self.shared, self.seconds), self.sharing.missing(self.shared)

        alone: tuple[str | None, list[str]] = (next(iter(left)), list(left))
        return self.attempt("nobody knows who draws what", ask, alone)

    def bring(self, part: Part) -> Part:
        """Bring what a helper drew into the workshop, if it can be had."""
        there = self.attempt(
            f"part {part.name} is not fetched", lambda: self.contributions.bring(part, self.workshop), False
        )
        if not there:
            logger.warning("job %s: part %s was not drawn, or is damaged", self.shared.job, part.name)
        return part

    def decline(self) -> None:
        self.attempt("help is still welcome", lambda: self.sharing.decline(self.shared), None)

    def attempt(self, trouble: str, step: Callable[[], Result], otherwise: Result) -> Result:
        """What has to do with helpers may fail."""
        try:
            return step()
        except (redis.RedisError, OperationalError, OSError) as error:
            logger.warning("job %s: %s: %s", self.shared.job, trouble, error)
            return otherwise
