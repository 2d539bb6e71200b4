"""The load generator counts and times correctly, and ends the processes that it started."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import numpy as np

from benchmarks.load import Ask, Tally, burst, closed_loop, open_loop, percentile, picture_size, run
from benchmarks.processes import alive, cpu_seconds, memory, stop, tree
from benchmarks.servers import get
from models.sampling.png import encode_png

PNG = encode_png(np.zeros((112, 280), np.uint8))
ASK = Ask((get("/digits/7?n=40"),), picture=(280, 112))


def answer(status: int, body: bytes = PNG) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def against(answers: list[bytes], delay: float, measure: Callable[[int], Awaitable[Tally]]) -> Tally:
    """Measure a server that gives these responses one after the other."""

    async def both() -> Tally:
        busy, count = asyncio.Lock(), 0
        tasks: set[asyncio.Task[None] | None] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            tasks.add(asyncio.current_task())
            while True:
                try:
                    await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return writer.close()
                async with busy:
                    await asyncio.sleep(delay)
                data = answers[count % len(answers)]
                count += 1
                writer.write(data[:20])
                await asyncio.sleep(0)
                writer.write(data[20:])
                if not data:
                    return writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        tally = await measure(server.sockets[0].getsockname()[1])
        server.close()
        await asyncio.gather(*(task for task in tasks if task))
        return tally

    return run(both())


def no_meter() -> float:
    return 0.0


def test_a_closed_loop_counts_the_responses_after_the_warm_up() -> None:
    tally = against([answer(200)], 0.01, lambda port: closed_loop(port, ASK, 4, 3.0, 0.2, no_meter))
    assert not tally.errors
    assert 30 <= len(tally.accepted) <= 3.0 / 0.01
    assert percentile(tally.accepted, 0.5) >= 0.02  # one of four waits for three others


def test_a_burst_sends_the_exact_number_and_separates_rejections_from_errors() -> None:
    answers = [answer(200), answer(503), answer(500)]
    tally = against(answers, 0, lambda port: burst(port, ASK, 5, 30, no_meter))
    assert (len(tally.accepted), len(tally.rejected), tally.errors["status 500"]) == (10, 10, 10)


def test_an_open_loop_measures_from_the_time_a_request_was_due() -> None:
    tally = against([answer(200)], 0.1, lambda port: open_loop(port, ASK, 4, 40, 0.5, no_meter))
    assert len(tally.accepted) == 20
    assert max(tally.accepted) > 1.2  # the last one was due at 0.475 s and answered after 2 s


def test_a_wrong_picture_and_a_closed_connection_are_errors() -> None:
    assert picture_size(PNG) == (280, 112)
    assert picture_size(PNG[:-20]) is None
    cut = answer(200, PNG[:-20])
    assert against([cut], 0, lambda port: burst(port, ASK, 1, 1, no_meter)).errors["not the picture"] == 1
    tally = against([b"", answer(200)], 0, lambda port: burst(port, ASK, 1, 2, no_meter))
    assert tally.errors["connection lost"] == 1
    assert len(tally.accepted) == 1


def test_percentiles() -> None:
    assert [percentile([3, 1, 2], share) for share in (0.01, 0.5, 0.99)] == [1, 2, 3]


def test_a_server_is_measured_and_ended_with_its_children() -> None:
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); sum(range(10**7)); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True)
    deadline = time.monotonic() + 30
    while len(tree(process.pid)) < 2 or cpu_seconds(process.pid) < 0.1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    members = [member.pid for member in tree(process.pid)]
    used = memory(process.pid)
    assert used.rss > used.pss > 5
    stop(process)
    assert not any(alive(pid) for pid in members)
