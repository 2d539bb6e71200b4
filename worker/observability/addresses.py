"""Addresses as people and programs can open them."""

OPENABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is reached here


def host_port(host: str, port: int) -> str:
    """Write an address to listen on; IPv6 in brackets, as in `[::1]:8000`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def http_address(host: str, port: int) -> str:
    """The address at which this machine can open a server that listens on `host`."""
    return f"http://{host_port(OPENABLE.get(host, host), port)}"
