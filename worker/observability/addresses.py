"""Addresses in forms that people and programs can open."""

OPENABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # how to reach a server that listens on all addresses


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with an IPv6 host in brackets, as in `[::1]:8000`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def http_address(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    return f"http://{host_port(OPENABLE.get(host, host), port)}"
