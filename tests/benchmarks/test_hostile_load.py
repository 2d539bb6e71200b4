"""Malformed and oversized requests to a real `acgan serve`: none causes a server error, and the service stays alive."""

import asyncio
from collections import Counter
from pathlib import Path

from benchmarks.hostile_load import REQUESTS, LoadFigures, attack, service, table
from tests.support.ports import free_port


def test_no_malformed_request_causes_a_server_error_and_livez_is_answered(tmp_path: Path, redis_url: str) -> None:
    port = free_port()
    with service(tmp_path, port, redis_url):
        figures = asyncio.run(attack(port, 20 * len(REQUESTS), callers=10))
    assert figures.statuses.total() == 20 * len(REQUESTS)
    assert figures.server_errors == 0, figures.statuses
    assert all(status in (0, 307) or 400 <= status < 500 for status in figures.statuses), figures.statuses
    assert figures.statuses[0] <= 20 * 4, figures.statuses  # a connection that is reset while it still sends
    assert figures.livez_failures == 0
    assert len(figures.livez_seconds) > 1


def test_the_table_shows_the_measurements() -> None:
    figures = LoadFigures(Counter({400: 3, 0: 1, 503: 2}), [0.001] * 99 + [0.5], 0)
    assert figures.server_errors == 2
    printed = table(figures)
    assert "| responses with status none | 1 |" in printed
    assert "| responses with status 503 | 2 |" in printed
    assert "| `/livez` p50 | 1.0 ms |" in printed
