"""Two API processes over one store: one deletes while the other reads."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx2

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.api.test_uses import run, serve
from tests.support.api_clients import local_client
from tests.support.ports import free_port
from tests.support.serving import until
from worker.jobs.consumer import JobConsumer


def test_while_one_process_deletes_another_returns_complete_responses_or_problems(
    settings: AppSettings, redis_url: str
) -> None:
    """One process deletes while the other draws, reads and loads: every response is correct, or a 404 or 503."""
    store, consumer = CheckpointStore(settings.store_dir), JobConsumer.connect(redis_url)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        jobs = [run(client, consumer, store) for _ in range(6)]
        serve(client, f"{jobs[-1]}-e001")
        pixels = {job: client.get(f"/digits/3?checkpoint={job}-e001&seed=1&n=4").content for job in jobs}
        pictures = {job: client.get(f"/jobs/{job}/epochs/2/samples.png").content for job in jobs}
        with other_process(redis_url) as address:
            answers = asyncio.run(read_while(address, jobs, lambda job: client.delete(f"/jobs/{job}").status_code))
    for job, path, answer in answers:
        if answer.status_code == 200 and path.startswith("/digits"):
            assert answer.content == pixels[job]
        elif answer.status_code == 200:
            assert answer.content == pictures[job]
        else:
            assert answer.status_code in (404, 503), answer.text
            assert answer.json()["detail"]
    assert {answer.status_code for job, _, answer in answers if job == jobs[-1]} == {200}
    assert 404 in {answer.status_code for _, _, answer in answers}


@contextmanager
def other_process(redis_url: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "ACGAN_REDIS_URL": redis_url})
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{address}/readyz").status_code == 200
        return False

    try:
        until("the other process answers", answers, 60)
        yield address
    finally:
        process.terminate()
        process.wait(30)


async def read_while(
    address: str, jobs: list[str], delete: Callable[[str], int]
) -> list[tuple[str, str, httpx2.Response]]:
    """Read from one process in a loop while the other deletes all jobs except the last."""
    found: list[tuple[str, str, httpx2.Response]] = []
    ended = False

    async def read(client: httpx2.AsyncClient, path: str, job: str) -> None:
        while not ended:
            found.append((job, path, await client.get(path)))

    async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
        paths = [(f"/digits/3?checkpoint={job}-e001&seed=1&n=4", job) for job in jobs]
        paths += [(f"/jobs/{job}/epochs/2/samples.png", job) for job in jobs]
        readers = [asyncio.create_task(read(client, *path)) for path in paths]
        for job in jobs[:-1]:
            assert await asyncio.to_thread(delete, job) == 204
        ended = True
        await asyncio.gather(*readers)
        found += [(job, path, await client.get(path)) for path, job in paths]
    return found
