"""Serving compared with other servers: python -m benchmarks.serving [--rounds R] [--peers-python PATH] [--json FILE]

Servers of the same generator run one after the other in every round, each under the same loads; the table has medians
over the rounds. The client runs on the server's cores.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from app.server.embedded_redis import free_port
from benchmarks.checkpoint import publish
from benchmarks.processes import memory, running
from benchmarks.scenarios import Figures, Trial, measure_all
from benchmarks.servers import ROOT, SERVERS, Server
from models.registry.store import GENERATOR, CheckpointStore

Rounds = dict[str, dict[str, list[Figures]]]  # server -> load -> one entry for each round
PROCESS = "the process"


def parse_arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    options.add_argument("--warm-up", type=float, default=3.0, help="seconds before each that are not counted")
    options.add_argument("--store", type=Path, help="folder of checkpoints; serves the latest; default: a random one")
    options.add_argument("--peers-python", help="interpreter with LitServe and BentoML; default: measure ours only")
    options.add_argument("--only", default="", help="servers, separated by commas: ours,litserve")
    options.add_argument("--scenarios", default="", help="only measurements whose name contains this")
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="peer setting: PEER_BATCH=4")
    options.add_argument("--json", type=Path, help="file for the figures of every round")
    return options.parse_args()


def choose(given: argparse.Namespace) -> list[Server]:
    wanted = [name.strip() for name in given.only.split(",") if name.strip()]
    known = [server.name for server in SERVERS]
    families = {name.split(" with ")[0] for name in known} | set(known)
    if unknown := set(wanted) - families:
        raise SystemExit(f"unknown server {', '.join(sorted(unknown))}; the servers are {', '.join(known)}")
    chosen = [server for server in SERVERS if not wanted or server.name in wanted]
    return [server for server in chosen if server.is_ours or given.peers_python]


def take(server: Server, given: argparse.Namespace, home: Path) -> dict[str, Figures]:
    """Start a server, measure it, and end it."""
    port = free_port()
    more = dict(setting.split("=", 1) for setting in given.set)
    command = [
        server.interpreter(os.path.abspath(given.peers_python or "")),
        *(part.format(port=port) for part in server.command),
    ]
    env = server.environment(home, port, more)
    with running(command, env, home, port, server.request(0, 1)) as process:
        measured = measure_all(Trial(server, process, given.seconds, given.warm_up), given.scenarios)
        used = memory(process.pid)
    start = {"ready_s": process.ready_after, "rss_mib": used.rss, "pss_mib": used.pss}
    return {PROCESS: start, **measured}


def upper_bound(home: Path, seconds: float) -> dict[str, Figures]:
    """Measure drawing without a server, in a separate process."""
    store = CheckpointStore(home / "checkpoints")
    latest = store.latest()
    assert latest is not None
    command = [sys.executable, "-m", "benchmarks.upper_bound", str(store.folder(latest) / GENERATOR), str(seconds)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    figures: dict[str, Figures] = json.loads(completed.stdout)
    return figures


def measure(servers: list[Server], given: argparse.Namespace, home: Path) -> Rounds:
    rounds: Rounds = {}
    for turn in range(given.rounds):
        for name in ["no server", *(server.name for server in servers)]:
            sys.stderr.write(f"round {turn + 1} of {given.rounds}: {name}\n")
            if name == "no server":
                figures_by_load = upper_bound(home, given.seconds / 4) if not given.scenarios else {}
            else:
                figures_by_load = take(next(server for server in servers if server.name == name), given, home)
            for load, figures in figures_by_load.items():
                rounds.setdefault(name, {}).setdefault(load, []).append(figures)
            time.sleep(1)
    return rounds


# ----------------------------------------------------------------------------
# The tables.

COLUMNS = {
    "requests/s": ("requests_per_s", 1),
    "images/s": ("images_per_s", 0),
    "p50 ms": ("p50_ms", 2),
    "p99 ms": ("p99_ms", 2),
    "images / CPU s": ("images_per_cpu_s", 0),
    "rejected": ("rejected_share", 2),
    "rejected p99 ms": ("rejected_p99_ms", 1),
    "/livez p99 ms": ("livez_p99_ms", 1),
    "errors": ("errors", 0),
    "client cores": ("client_cpu_share", 2),
}
PROCESS_COLUMNS = {"s to ready": ("ready_s", 2), "RSS MiB": ("rss_mib", 0), "PSS MiB": ("pss_mib", 0)}


def median(rounds: list[Figures], key: str, digits: int) -> str:
    values = [figures[key] for figures in rounds if figures.get(key, float("nan")) == figures.get(key)]
    return f"{statistics.median(values):.{digits}f}" if values else ""


def rows(rounds: Rounds) -> Iterator[list[str]]:
    yield ["server", "load", *COLUMNS]
    names = dict.fromkeys(name for measurements in rounds.values() for name in measurements if name != PROCESS)
    for name in names:
        for server, measurements in rounds.items():
            if name in measurements:
                yield [server, name, *(median(measurements[name], *column) for column in COLUMNS.values())]


def process_rows(rounds: Rounds) -> Iterator[list[str]]:
    yield ["server", *PROCESS_COLUMNS]
    for server, measurements in rounds.items():
        if PROCESS in measurements:
            yield [server, *(median(measurements[PROCESS], *column) for column in PROCESS_COLUMNS.values())]


def markdown(lines: Iterator[list[str]]) -> str:
    table = [f"| {' | '.join(cells)} |" for cells in lines]
    table.insert(1, "|" + "---|" * (table[0].count("|") - 1))
    return "\n".join(table)


def main() -> None:
    given = parse_arguments()
    servers = choose(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that child processes are ended
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = publish(Path(folder), given.store)
        rounds = measure(servers, given, Path(folder))
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        "checkpoint": checkpoint,
        "rounds": given.rounds,
        "seconds": given.seconds,
        "client": "on the server's cores, not pinned",
        "settings": {server.name: server.settings for server in servers},
        "set": given.set,
    }
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rounds": rounds}, indent=1))
    sys.stdout.write(
        f"{about['machine']}; medians of {given.rounds} rounds of {given.seconds:g} s; "
        f"the client ran {about['client']}\n\n{markdown(rows(rounds))}\n\n{markdown(process_rows(rounds))}\n"
    )


if __name__ == "__main__":
    main()
