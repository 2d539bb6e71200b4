"""Messages about ends of jobs that are not delivered yet. The script that ends a job writes its message (lua/)."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import redis

from worker.jobs import scripts
from worker.jobs.codec import pairs
from worker.jobs.errors import raises_store_unavailable
from worker.jobs.model import JobKind
from worker.jobs.redis_client import connect_client


class Message(NamedTuple):
    """A claimed message. Times are in seconds by Redis' clock."""

    id: str
    job: str
    url: str  # may be secret
    status: str
    ended_at: float
    epoch: int  # the last one; 0 if none has finished
    attempt: int  # from 1; it also identifies the claim
    claimed_at: float
    kind: str
    name: str | None  # the label of the job when it ended


@raises_store_unavailable
class Outbox:
    """Several senders may share an outbox: a lease gives each message to one at a time.

    `longest_pause` is that between two attempts, and `give_up_seconds` the age at which a failing message is given up.
    """

    def __init__(
        self, client: "redis.Redis", lease_seconds: float, longest_pause: float, give_up_seconds: float
    ) -> None:
        self.redis = client
        self.lease_seconds = lease_seconds
        self.longest_pause = longest_pause
        self.give_up_seconds = give_up_seconds
        self._claim = client.register_script(scripts.CLAIM_MESSAGE)
        self._settle = client.register_script(scripts.SETTLE_MESSAGE)

    @classmethod
    def connect(cls, url: str, lease_seconds: float, longest_pause: float, give_up_seconds: float) -> "Outbox":
        return cls(connect_client(url), lease_seconds, longest_pause, give_up_seconds)

    def claim(self) -> Message | None:
        """Claim the message that is due first, or return None. Another sender gets it when the lease ends."""
        answer = self._claim(args=[self.lease_seconds, self.longest_pause])
        if answer is None:
            return None
        message, now, fields, kind, config = answer
        return decode_message(message, float(now), pairs(fields), kind, config)

    def finish(self, message: Message) -> None:
        """Remove a message for ever: it is delivered, or its receiver wants none."""
        self._settle(args=[message.id, message.attempt, 1, 0, 0, ""])

    def postpone(self, message: Message, pause: float) -> None:
        """Let the message wait for `pause` seconds, because no attempt was made: none is counted."""
        self._settle(args=[message.id, message.attempt, 2, pause, 0, ""])

    def put_back(self, message: Message, pause: float, trouble: str) -> bool:
        """Let the message wait for `pause` seconds. If it is too old, remove it and add `trouble` to its job.

        Returns whether it was given up.
        """
        args: list[str | int | float] = [message.id, message.attempt, 0, pause, self.give_up_seconds, trouble]
        return bool(self._settle(args=args) == "given up")


def decode_message(message: str, now: float, fields: Mapping[str, str], kind: str, config: str | None) -> Message:
    return Message(
        id=message,
        job=fields["job"],
        url=fields["url"],
        status=fields["status"],
        ended_at=float(fields["ended_at"]),
        epoch=int(fields["epoch"]),
        attempt=int(fields["attempts"]),
        claimed_at=now,
        kind=kind,
        name=fields["name"] or None if "name" in fields else _first_name(kind, config),
    )


def _first_name(kind: str, config: str | None) -> str | None:
    """Return the first label of a run; None if it has none, or if this version does not understand the configuration.

    The configuration of another job has the name of another run.
    """
    if kind != JobKind.TRAINING:
        return None
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return None
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None
