"""Addresses of Redis, in the forms of redis-py and of Celery. No message contains an address: it has a password."""

from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
    "redis+socket": "unix",
}
MALFORMED = "its host, port or password is malformed; / ? # and % in a password are %2F %3F %23 and %25"
FORMS = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/redis.sock?db=0"


def normalize_address(url: str) -> str:
    """Return an address in redis-py's form. Raises ValueError whose message omits the address and its password."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises ValueError if it is not a number
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:  # its message may contain the password
        raise ValueError(f"not a Redis address ({MALFORMED}): use {FORMS}") from None
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None:
        reason = f"{parts.scheme}:// is not supported" if parts.netloc else "it has no scheme"
        raise ValueError(f"not a Redis address ({reason}): use {FORMS}")
    if parts.fragment or any("@" in name for name in query):  # a part of the password, not of the address
        raise ValueError(f"not a Redis address ({MALFORMED}): use {FORMS}")
    if scheme == "unix":
        return _socket(parts, query)
    database = query.pop("db", None) or query.pop("virtual_host", None) or parts.path.strip("/") or "0"
    if "ssl_cert_reqs" in query:  # Celery's spelling has a prefix
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    return urlunsplit((scheme, parts.netloc, f"/{_number(database)}", urlencode(query), ""))


def celery_address(url: str) -> str:
    """Return a normalized address in the form of Celery's transport."""
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
        raise ValueError(f"the address of a socket has three slashes and a path: use {FORMS}")
    database = query.pop("virtual_host", None) or query.pop("db", None) or "0"
    query["db"] = _number(database.strip("/"))
    path = quote(unquote(parts.path))
    return f"unix://{parts.netloc}{path}?{urlencode(query)}"


def _number(database: str) -> str:
    if not (database.isascii() and database.isdecimal()):
        raise ValueError(f"the database in a Redis address must be a number: use {FORMS}")
    return str(int(database))
