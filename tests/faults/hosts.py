"""Hosts in a network of their own: namespaces joined by a switch in one more, with links that tests cut and heal.

This machine's own network is not involved, and no packet leaves the namespaces. `close` removes all of it. Needs root,
`ip` and `nft`.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx2

from app.server.embedded_redis import EmbeddedRedis, prepare
from tests.conftest import RunningRedis
from tests.faults.world import World, is_alive

How = Literal["unplugged", "deaf", "mute", "silent"]
NETWORK = "10.203.77"
CLONE_NEWNET = 0x40000000
HOOK = "{ type filter hook ingress device %s priority 0; policy drop; }"
DROP = f"add table netdev cut; add chain netdev cut arriving {HOOK}"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """`cut` separates a host from all others.

    unplugged   its link is down
    deaf        packets to it are lost; those that it sends arrive
    mute        packets from it are lost; those to it arrive
    silent      packets in both directions are lost, but unlike `unplugged`, the hosts see no link failure
    """

    def __init__(self, *hosts: str) -> None:
        self.addresses = {host: f"{NETWORK}.{number}" for number, host in enumerate(hosts, 1)}
        self.switch = self.namespace("switch")
        delete_leftover_namespaces()
        try:
            for namespace in (self.switch, *map(self.namespace, hosts)):
                run("ip", "netns", "add", namespace)
                run("ip", "-n", namespace, "link", "set", "lo", "up")
            run("ip", "-n", self.switch, "link", "add", "bridge", "up", "type", "bridge")
            for host, address in self.addresses.items():
                self.join(host, address)
        except OSError:
            self.close()
            raise

    def namespace(self, host: str) -> str:
        return f"acgan-{os.getpid()}-{host}"

    def join(self, host: str, address: str) -> None:
        there, link = self.namespace(host), ("type", "veth", "peer", "name", host, "netns", self.switch)
        run("ip", "-n", there, "link", "add", "eth0", *link)
        run("ip", "-n", there, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", there, "link", "set", "eth0", "up")
        run("ip", "-n", self.switch, "link", "set", host, "master", "bridge", "up")

    def within(self, host: str) -> list[str]:
        """The prefix of a command that runs it on that host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def enter(self, host: str) -> None:
        """From here on this thread's new sockets are that host's."""
        with open(f"/run/netns/{self.namespace(host)}") as there:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def cut(self, host: str, how: How) -> None:
        there = self.namespace(host)
        if how == "unplugged":
            run("ip", "-n", self.switch, "link", "set", host, "down")
        if how in ("deaf", "silent"):
            run("ip", "netns", "exec", there, "nft", DROP % "eth0")
        if how in ("mute", "silent"):
            run("ip", "netns", "exec", self.switch, "nft", DROP % host)

    def heal(self, host: str) -> None:
        run("ip", "-n", self.switch, "link", "set", host, "up")
        for namespace in (self.switch, self.namespace(host)):
            run("ip", "netns", "exec", namespace, "nft", "flush", "ruleset")

    def close(self) -> None:
        for namespace in (*map(self.namespace, self.addresses), self.switch):
            with contextlib.suppress(OSError):
                delete_namespace(namespace)


def delete_namespace(namespace: str) -> None:
    """End every process in the namespace, and delete it with its links."""
    for pid in run("ip", "netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "delete", namespace)


def delete_leftover_namespaces() -> None:
    """Delete the namespaces of killed tests."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        made_by = re.fullmatch(r"acgan-(\d+)-[a-z]+", name)
        if made_by and not is_alive(int(made_by[1])):
            delete_namespace(name)


@contextmanager
def network(*hosts: str) -> Iterator[Network]:
    made = Network(*hosts)
    try:
        yield made
    finally:
        made.close()


def missing_requirement() -> str | None:
    """Return the reason if this machine cannot create such a network, else None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if absent := [tool for tool in ("ip", "nft") if shutil.which(tool) is None]:
        return f"needs {' and '.join(absent)} (iproute2, nftables)"
    try:
        with network("one", "two") as tried:
            tried.cut("one", "silent")
    except OSError as error:
        return f"this kernel has no such networks: {error}"
    return None


def listen(network: Network, host: str, port: int) -> socket.socket:
    """Listen at a host's address, from this process."""
    made: list[socket.socket] = []

    def there() -> None:
        network.enter(host)
        made.append(socket.create_server((network.addresses[host], port), backlog=128))

    in_thread(there)
    return made[0]


def in_thread(work: Callable[[], None]) -> None:
    """Call it in a thread of its own: a thread that has entered a host's network cannot leave it."""
    troubles: list[BaseException] = []

    def try_to() -> None:
        try:
            work()
        except BaseException as trouble:
            troubles.append(trouble)

    thread = threading.Thread(target=try_to)
    thread.start()
    thread.join()
    if troubles:
        raise troubles[0]


class HostedRedis(RunningRedis):
    """Redis at a host's address. The tests use a Unix socket, which no cut of the network affects."""

    def __init__(self, folder: Path, network: Network, host: str) -> None:
        prepared = prepare(folder)
        password, address, door = urlsplit(prepared.url).password, network.addresses[host], folder / "socket"
        there = ["--bind", address, "--port", "6379", "--unixsocket", str(door)]
        self.server = EmbeddedRedis(
            [*network.within(host), *prepared.command, *there], f"unix://:{password}@{door}?db=0"
        )
        self.url = self.server.url
        self.address = f"redis://:{password}@{address}:6379/0"
        self.start()


class HostedApi:
    """`acgan serve` on a host, with callers on the same host."""

    def __init__(self, world: World, network: Network, host: str, environment: dict[str, str]) -> None:
        self.world, self.network, self.host = world, network, host
        self.url = "http://127.0.0.1:8000"
        command = [*network.within(host), sys.executable, "-m", "app.cli", "serve"]
        with world.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env={**world.environment, **environment}, stdout=log, stderr=log, start_new_session=True
            )

    def until_ready(self, seconds: float, checkpoint: str = "") -> None:
        """Wait until it draws, by that checkpoint if one is named."""

        def ask() -> None:
            self.network.enter(self.host)
            with httpx2.Client(base_url=self.url, timeout=20) as client:
                self.world.until("the API draws", lambda: self.draws(client, checkpoint), seconds)

        in_thread(ask)

    def draws(self, client: httpx2.Client, checkpoint: str) -> bool:
        try:
            answer = client.get("/digits/7")
            return answer.status_code == 200 and answer.headers["X-Checkpoint"].startswith(checkpoint)
        except httpx2.TransportError:
            assert self.process.poll() is None, self.world.story()
            time.sleep(0.2)
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
