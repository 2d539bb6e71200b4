"""Parses rates such as `60/minute`, `5/10seconds` or `off`, without the import of `limits`, which is slow."""

import re
from typing import NamedTuple

WRITTEN = re.compile(
    r"\s*(\d{1,9})\s*(?:/|per)\s*(\d{1,9})?\s*(second|minute|hour|day|month|year)s?\s*", re.IGNORECASE | re.ASCII
)


class Frequency(NamedTuple):
    """`amount` requests in `multiples` units of time."""

    amount: int
    multiples: int
    unit: str


def read_frequency(text: str) -> Frequency | None:
    """Parse a rate; returns None for `off`. Raises ValueError."""
    if text.strip().lower() == "off":
        return None
    match = WRITTEN.fullmatch(text)
    amount, multiples = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    if not match or amount < 1 or multiples < 1:
        raise ValueError("should be a rate like 60/minute, 5/second or 1000/hour, or off")
    return Frequency(amount, multiples, match[3].lower())
