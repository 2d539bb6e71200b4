"""One address of Redis for two libraries: redis-py reads it in one spelling, Celery's transport in another.

Addresses are checked when the settings are read, so that no part starts with one that another part cannot use.
"""

from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
}
FORMS = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/redis.sock?db=0"


def normalize_address(url: str) -> str:
    """Return an address as redis-py reads it. Raises ValueError, without the address: it may hold a password."""
    try:
        parts = urlsplit(url.strip())
        scheme = SCHEMES.get(parts.scheme)
        _ = parts.port  # raises ValueError if it is no number
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as error:
        raise ValueError(f"this is no address of a Redis ({error}): it looks like {FORMS}") from None
    if scheme is None:
        known = f"{parts.scheme}:// is not a kind of address" if parts.scheme else "this is no address"
        raise ValueError(f"{known} of a Redis that all parts know: it looks like {FORMS}")
    if scheme == "unix":
        return _socket(parts, query)
    database = query.pop("db", None) or query.pop("virtual_host", None) or parts.path.strip("/") or "0"
    if "ssl_cert_reqs" in query:  # Celery's spelling has a prefix
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    return urlunsplit((scheme, parts.netloc, f"/{_number(database)}", urlencode(query), ""))


def celery_address(url: str) -> str:
    """Return a normalized address as Celery's transport reads it."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = dict(parse_qsl(parts.query))
    query["virtual_host"] = query.pop("db", "0")
    return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(query)}"


def _socket(parts: SplitResult, query: dict[str, str]) -> str:
    """Raises ValueError."""
    host = parts.netloc.rpartition("@")[2]
    if host or not parts.path.strip("/"):
        raise ValueError(f"a socket's address has three slashes and a path: {FORMS}")
    database = query.pop("virtual_host", None) or query.pop("db", None) or "0"
    query["db"] = _number(database.strip("/"))
    path = quote(unquote(parts.path))
    return f"unix://{parts.netloc}{path}?{urlencode(query)}"


def _number(database: str) -> str:
    if not (database.isascii() and database.isdecimal()):
        raise ValueError(f"the database of Redis is a number, as in {FORMS}")
    return str(int(database))
