"""The API as a process that tests kill and start again, and many concurrent callers."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx2

from tests.faults.world import World
from tests.support.ports import free_port


class Api:
    def __init__(self, world: World, patience: float = 60.0, is_watched: bool = True) -> None:
        """If `is_watched`, the world checks in the background what is served: these requests count for rate limits."""
        self.world = world
        self.patience = patience  # seconds for the start, which takes longer if many other processes run
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        world.api_url = self.url if is_watched else None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", str(self.port)]
        with self.world.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.world.environment, stdout=log, stderr=log)
        with httpx2.Client(timeout=5) as client:  # one client: to create it costs more than a request
            self.world.until("the API answers", lambda: self.answers(client), self.patience)

    def answers(self, client: httpx2.Client) -> bool:
        try:
            return client.get(f"{self.url}/livez").status_code == 200
        except httpx2.TransportError:
            return False

    def end(self) -> None:
        self.world.api_url = None
        self.process.kill()
        self.process.wait()


def in_parallel(count: int, work: Callable[[int], None]) -> None:
    """Call the function from this many threads at once. Raises what any of them raises."""
    troubles: list[BaseException] = []

    def try_to(number: int) -> None:
        try:
            work(number)
        except BaseException as trouble:
            troubles.append(trouble)

    threads = [threading.Thread(target=try_to, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise troubles[0]


def in_progress(client: httpx2.Client) -> float:
    """The number of requests that an API handles at this moment."""
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("acgan_http_requests_in_flight "))


def outcomes_of_requests_in_flight(api: Api, count: int, then: Callable[[], None]) -> Counter[str]:
    """Send `count` requests at once over open connections, call `then` while they are answered, and count outcomes."""
    outcomes: Counter[str] = Counter()
    lock, begun = threading.Lock(), threading.Barrier(count + 1)

    def until_all_arrived(client: httpx2.Client, idle: float) -> None:
        """Each is answered or in progress at the API: the kernel may hold others, which a shutdown would cut off."""
        deadline, seen = time.monotonic() + 60, 0
        while seen < 2:  # twice, because the world's own request may have been counted
            assert time.monotonic() < deadline, "the requests do not arrive"
            answered = outcomes.total()
            seen = seen + 1 if answered + in_progress(client) - idle >= count else 0

    def ask(number: int) -> None:
        if number == count:
            with httpx2.Client(base_url=api.url, timeout=60) as client:
                idle = in_progress(client)
                begun.wait()
                until_all_arrived(client, idle)
            then()
            return
        with httpx2.Client(timeout=60) as client:
            client.get(f"{api.url}/livez")  # opens the connection
            begun.wait()
            try:
                outcome = str(client.get(f"{api.url}/digits/7?n=40").status_code)
            except httpx2.TransportError as error:
                outcome = type(error).__name__
        with lock:
            outcomes[outcome] += 1

    in_parallel(count + 1, ask)
    return outcomes
