"""The loads that are put on a server, and the figures that are computed from its responses."""

import asyncio
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.load import Ask, Tally, burst, closed_loop, open_loop, percentile, run
from benchmarks.processes import Running, cpu_seconds
from benchmarks.servers import Server, get

LABELS = range(10)
SEEDS = 100_000  # different seeds, more than a measurement can request
CONNECTIONS = 16
BURST = (200, 50)  # requests, connections
IDLE_SECONDS = 10.0
OVERLOAD_CONNECTIONS = 512
PROBES_A_SECOND = 20.0

Figures = dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One running server, and the duration of each measurement."""

    server: Server
    running: Running
    seconds: float
    warm_up: float

    @property
    def port(self) -> int:
        return self.running.port

    def cpu(self) -> float:
        return cpu_seconds(self.running.pid)


def sheets(server: Server, n: int) -> Ask:
    columns = min(n, 10)
    return Ask(tuple(server.request(label, n) for label in LABELS), picture=(28 * columns, 28 * -(-n // columns)))


def figures(tally: Tally, n: int) -> Figures:
    """Summarise a measurement. Rates count accepted requests only."""
    good, refused = len(tally.accepted), len(tally.rejected)
    for what, times in tally.errors.items():
        sys.stderr.write(f"  {times} times: {what}\n")
    return {
        "requests_per_s": good / tally.seconds,
        "images_per_s": n * good / tally.seconds,
        "images_per_cpu_s": n * good / max(tally.server_cpu, 1e-9),
        "p50_ms": 1e3 * percentile(tally.accepted, 0.5),
        "p99_ms": 1e3 * percentile(tally.accepted, 0.99),
        "rejected_share": refused / max(1, good + refused),
        "rejected_p99_ms": 1e3 * percentile(tally.rejected, 0.99),
        "errors": float(tally.errors.total()),
        "requests": float(good + refused),
        "client_cpu_share": tally.client_cpu / tally.seconds,
    }


# ----------------------------------------------------------------------------
# Every server.


def closed(trial: Trial, ask: Ask, n: int, connections: int) -> Figures:
    return figures(run(closed_loop(trial.port, ask, connections, trial.seconds, trial.warm_up, trial.cpu)), n)


def sustained(trial: Trial, n: int, connections: int) -> Figures:
    return closed(trial, sheets(trial.server, n), n, connections)


def burst_after_idleness(trial: Trial) -> Figures:
    total, connections = BURST
    time.sleep(IDLE_SECONDS)
    return figures(run(burst(trial.port, sheets(trial.server, 40), connections, total, trial.cpu)), 40)


def at_share(trial: Trial, capacity: float, share: float) -> Figures:
    """Measure an open loop at a share of the rate that the closed loop reached."""
    ask = sheets(trial.server, 40)
    return figures(run(open_loop(trial.port, ask, 128, share * capacity, trial.seconds, trial.cpu)), 40)


# ----------------------------------------------------------------------------
# Ours only.


def seeded(trial: Trial, different: bool) -> Figures:
    seeds = [1000 + seed for seed in range(SEEDS)] if different else [4]
    requests = tuple(get(f"/digits/7?n=40&seed={seed}") for seed in seeds)
    return closed(trial, Ask(requests, picture=(280, 112)), 40, CONNECTIONS)


def not_modified(trial: Trial) -> Figures:
    path = "/digits/7?n=40&seed=4"
    with socket.create_connection(("127.0.0.1", trial.port), timeout=30) as connection:
        connection.sendall(get(path))
        etag = re.search(r'etag: (".*?")', connection.recv(65536).decode("latin1"), re.IGNORECASE)
    assert etag, "a response to a request with a seed has an ETag"
    return closed(trial, Ask((get(path, f"If-None-Match: {etag[1]}"),), status=304), 0, CONNECTIONS)


def empty(trial: Trial) -> Figures:
    return closed(trial, Ask((get("/livez"),)), 0, CONNECTIONS)


def overload(trial: Trial, capacity: float) -> Figures:
    """Send three times the server's capacity, and measure at the same time whether /livez still responds."""

    async def both() -> tuple[Tally, Tally]:
        asked = open_loop(
            trial.port, sheets(trial.server, 40), OVERLOAD_CONNECTIONS, 3 * capacity, trial.seconds, trial.cpu
        )
        probe = open_loop(trial.port, Ask((get("/livez"),)), 8, PROBES_A_SECOND, trial.seconds, trial.cpu)
        first, second = await asyncio.gather(asked, probe)
        return first, second

    drawn, probed = run(both())
    return {**figures(drawn, 40), "livez_p99_ms": 1e3 * percentile(probed.accepted, 0.99)}


# ----------------------------------------------------------------------------

SUSTAINED = "n=40, 16 connections"
FOR_ALL: dict[
    str, Callable[[Trial], Figures]
] = {  # light loads first, because BentoML's batching waits longer after heavy ones
    "n=1, 1 connection": partial(sustained, n=1, connections=1),
    "n=1, 64 connections": partial(sustained, n=1, connections=64),
    SUSTAINED: partial(sustained, n=40, connections=CONNECTIONS),
    "burst of 200 n=40 after 10 s without requests": burst_after_idleness,
}
AT_RATE: dict[str, Callable[[Trial, float], Figures]] = {
    "n=40, open loop at 50 % of capacity": partial(at_share, share=0.5),
}
FOR_OURS: dict[str, Callable[[Trial], Figures]] = {
    "seeded n=40, all different": partial(seeded, different=True),
    "seeded n=40, all the same": partial(seeded, different=False),
    "304": not_modified,
    "/livez": empty,
}
FOR_OURS_AT_RATE: dict[str, Callable[[Trial, float], Figures]] = {
    "n=40, open loop at 3x capacity": overload,
}


def log_figures(name: str, figures: Figures) -> Figures:
    sys.stderr.write(f"  {name}: {figures['requests_per_s']:.1f} requests/s, {figures['errors']:.0f} errors\n")
    return figures


def measure_all(trial: Trial, wanted: str) -> dict[str, Figures]:
    """Run every measurement whose name contains `wanted`; those that need the capacity run last."""
    measured: dict[str, Figures] = {}
    plain = {**FOR_ALL, **(FOR_OURS if trial.server.is_ours else {})}
    paced = {**AT_RATE, **(FOR_OURS_AT_RATE if trial.server.is_ours else {})}
    for name, measure in plain.items():
        if wanted in name or (name == SUSTAINED and any(wanted in other for other in paced)):
            measured[name] = log_figures(name, measure(trial))
    for name, measure_at_rate in paced.items():
        if wanted in name:
            measured[name] = log_figures(name, measure_at_rate(trial, measured[SUSTAINED]["requests_per_s"]))
    return measured
