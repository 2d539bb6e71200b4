"""Thousands of malformed requests, and valid ones at the same time. MALFORMED in the environment sets their number."""

import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.app.middleware.test_request_log import serving
from tests.models.registry.test_store import OLD
from tests.support.malformed_requests import KINDS
from tests.support.raw_http import send_raw

COUNT = int(os.environ.get("MALFORMED", "5000"))
CALLERS = 4
GROWTH = 10 << 20  # bytes


def resident(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


@pytest.fixture
def published(tmp_path: Path) -> str:
    store = CheckpointStore(tmp_path / "store")
    publish(store, OLD, 1, seed=1)
    return str(store.root)


@pytest.mark.timeout(120 + COUNT // 10)
@pytest.mark.parametrize("count", [COUNT // 3, pytest.param(COUNT, marks=pytest.mark.long)])
def test_malformed_requests_are_refused_and_valid_ones_are_answered(
    redis_url: str, published: str, tmp_path: Path, count: int
) -> None:
    # No buffer of digits: it grows while this runs, which malformed requests do not cause.
    settings = {
        "REDIS_URL": redis_url,
        "STORE": published,
        "DRAWING_WAIT_SECONDS": "60",
        "WORK_RATE": "off",
        "STOCK": "0",
    }
    with serving(tmp_path, **settings) as (process, client):
        address = str(client.base_url).rstrip("/")
        sensible: Counter[int] = Counter()
        wrong: list[tuple[bytes, bytes]] = []
        refused: Counter[int] = Counter()

        def ask_nonsense(number: int, count: int) -> None:
            chance = random.Random(number)
            for _ in range(count):
                sent = chance.choice(KINDS)(chance)
                reply = send_raw(address, sent, seconds=60)
                fine = reply.closed and len(reply.statuses) <= 1 and all(400 <= one < 500 for one in reply.statuses)
                if not fine or b"Traceback" in reply.data or b".py" in reply.data:
                    wrong.append((sent[:300], reply.data[:600]))
                refused[reply.statuses[0] if reply.statuses else 0] += 1

        def ask_both(count: int) -> None:
            callers = [threading.Thread(target=ask_nonsense, args=(each, count // CALLERS)) for each in range(CALLERS)]
            for caller in callers:
                caller.start()
            while any(caller.is_alive() for caller in callers):
                for path in ("/digits/7", "/digits/3?n=10&seed=4", "/jobs", "/livez"):
                    sensible[client.get(path).status_code] += 1
            for caller in callers:
                caller.join()

        ask_both(10 * len(KINDS))  # modules that are loaded once count before the measurement
        before = resident(process.process.pid)
        ask_both(count)
        growth = resident(process.process.pid) - before
        assert wrong == []
        assert sum(refused.values()) >= count
        assert {400, 404, 413, 422, 431} <= set(refused)
        assert sensible[200] >= 0.999 * sensible.total(), sensible
        assert sensible[200] > 50
        assert growth <= GROWTH, f"{growth >> 20} MiB"
        assert client.get("/jobs").json()["jobs"] == []
        assert "Traceback" not in process.text
        assert not [line for line in process.lines() if line["level"] in ("error", "critical")]
