"""Links in responses, and the path under which a reverse proxy serves the API, such as `/acgan`."""

import re
from contextvars import ContextVar
from typing import Annotated

from pydantic import PlainSerializer

PATTERN = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
LONGEST = 200  # characters
ROUTES = frozenset(
    [
        "checkpoints",
        "datasets",
        "digits",
        "docs",
        "evaluations",
        "images",
        "jobs",
        "livez",
        "metrics",
        "morph",
        "numbers",
        "openapi.json",
        "page",
        "problems",
        "readyz",
        "serving",
        "train",
        "training-data",
    ]
)  # the first parts of the API's own paths

prefix: ContextVar[str] = ContextVar("prefix", default="")  # of the links in responses to the current request


def read_root_path(text: str) -> str:
    """Return a prefix without its final slash; an empty string for none.

    Raises ValueError for anything that a browser could read as an address of another host: `//host`, a backslash, `..`.
    """
    path = text.strip().rstrip("/")
    is_known = not path or (len(path) <= LONGEST and PATTERN.fullmatch(path))
    if not is_known or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(
            "should be a path such as /acgan: letters, digits, `.`, `_`, `~` and `-` between single slashes"
        )
    if path.split("/")[1:] and path.split("/")[1] in ROUTES:  # a proxy may remove the prefix, which is then ambiguous
        raise ValueError(
            f"should be a path such as /acgan that does not begin with /{path.split('/')[1]}, a path of the API"
        )
    return path


def with_prefix(link: str | None) -> str | None:
    """Add the prefix of the current request to a link that starts with a slash."""
    return prefix.get() + link if link is not None and link.startswith("/") else link


Link = Annotated[str, PlainSerializer(with_prefix, return_type=str)]
