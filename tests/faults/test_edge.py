"""Replicas behind the proxy of docker-compose.scale.yml: the cost of a lost replica, and the effect of slow clients."""

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx2
import pytest

from tests.app.conftest import publish
from tests.faults.api import Api
from tests.faults.edge import Edge, asking, slow, until_served
from tests.faults.world import TINY, World, running_world
from tests.models.registry.test_store import OLD
from tests.support.raw_http import send_raw

SLOW = int(os.environ.get("SLOWLORIS", "300"))

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(500),  # a replica takes longer to start beside the callers
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy"),
]


class Deployment(NamedTuple):
    world: World
    replicas: list[Api]
    edge: Edge


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two replicas, a Redis, no worker: accepted jobs wait."""
    folder = tmp_path_factory.mktemp("edge")
    with running_world(folder, environment={"ACGAN_QUEUE_LIMIT": "1000000"}) as world:
        publish(world.store, OLD, 1, seed=1)
        replicas = [Api(world, patience=200), Api(world, patience=200)]
        edge = Edge(folder, replicas)
        try:
            until_served(edge.url)
            yield Deployment(world, replicas, edge)
        finally:
            edge.end()
            for replica in replicas:
                replica.end()


def problem_of(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    result = answer.json()
    assert result["status"] == answer.status_code
    return str(result["detail"])


def test_a_killed_replica_costs_only_the_requests_on_its_connections(deployment: Deployment) -> None:
    replica = deployment.replicas[0]
    with asking(deployment.edge.url, TINY, read=3, order=3, order_with_a_key=2) as outcomes:
        time.sleep(3)
        replica.end()
        time.sleep(5)
    print(outcomes)  # noqa: T201
    replica.start()
    lost = outcomes["order"].total() - outcomes["order"]["202"]
    assert set(outcomes["read"]) == {"200"}
    assert set(outcomes["order with a key"]) == {"202"}
    assert set(outcomes["order"]) <= {"202", "502", "RemoteProtocolError"}  # answered by an error, or cut off
    assert lost <= 3  # no more than were in progress
    assert all(result.total() > 20 for result in outcomes.values())


def test_a_replica_that_shuts_down_costs_no_request(deployment: Deployment) -> None:
    replica = deployment.replicas[1]
    deployment.edge.until_all_serve()
    with asking(deployment.edge.url, TINY, read=3, order_with_a_key=2) as outcomes:
        time.sleep(2)
        replica.process.send_signal(signal.SIGTERM)
        replica.process.wait(30)
        time.sleep(3)
    print(outcomes)  # noqa: T201
    replica.start()
    assert set(outcomes["read"]) == {"200"}
    assert set(outcomes["order with a key"]) == {"202"}
    assert all(result.total() > 20 for result in outcomes.values())


def test_clients_that_never_complete_a_request_exclude_no_other(deployment: Deployment) -> None:
    deployment.edge.until_all_serve()
    before = refused(deployment)
    with (
        slow(deployment.edge.port, SLOW) as callers,
        asking(deployment.edge.url, TINY, read=4, order_with_a_key=2) as outcomes,
    ):
        time.sleep(25)  # longer than a request may take to arrive, twice
    served = outcomes["read"]["200"] + outcomes["order with a key"]["202"]
    asked = sum(result.total() for result in outcomes.values())
    print(f"{SLOW} slow callers, sent away {dict(callers.sent_away)}: {served} of {asked} served")  # noqa: T201
    assert asked > 300
    assert served >= 0.999 * asked
    assert callers.sent_away["408"] >= SLOW
    assert refused(deployment) == before  # the API saw none of them


def refused(deployment: Deployment) -> list[str]:
    figures = [httpx2.get(f"{replica.url}/metrics").text.splitlines() for replica in deployment.replicas]
    return [line for lines in figures for line in lines if line.startswith("acgan_http_refusals_total")]


def test_one_address_has_a_hundred_connections_and_other_addresses_keep_theirs(deployment: Deployment) -> None:
    with contextlib.ExitStack() as crowd:
        made = [crowd.enter_context(socket.socket()) for _ in range(150)]
        for connection in made:
            connection.bind(("127.0.0.9", 0))
            with contextlib.suppress(ConnectionResetError):
                connection.connect(("127.0.0.1", deployment.edge.port))
        refused_all = "the proxy has refused fifty of them"
        deployment.world.until(refused_all, lambda: sum(stands(connection) for connection in made) <= 100)
        time.sleep(0.5)  # and no more
        assert sum(stands(connection) for connection in made) == 100
        assert httpx2.get(f"{deployment.edge.url}/livez", timeout=20).status_code == 200


def stands(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_requests_that_are_too_large_or_malformed_are_answered_by_the_proxy(deployment: Deployment) -> None:
    url = deployment.edge.url
    long_head = httpx2.get(f"{url}/livez", headers={"X-Long": "a" * 20000})
    assert long_head.status_code == 431
    assert "16384" in problem_of(long_head)
    long_body = httpx2.post(f"{url}/train", content=b"{" + b" " * 70000, headers={"Content-Type": "application/json"})
    assert long_body.status_code == 413
    assert "too long" in problem_of(long_body)
    assert send_raw(url, b"NONSENSE\r\n\r\n").statuses == [400]
    lengths = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    smuggled = (
        b"POST /train HTTP/1.1\r\nHost: localhost\r\n"
        + lengths
        + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert len(send_raw(url, smuggled, seconds=2).statuses) == 1  # two lengths: nothing after it is a request


def test_events_pass_through_as_they_happen(deployment: Deployment) -> None:
    job = httpx2.post(f"{deployment.edge.url}/train", json=TINY).json()["id"]
    with httpx2.stream("GET", f"{deployment.edge.url}/jobs/{job}/events", timeout=30) as answer:
        assert next(line for line in answer.iter_lines() if line) == "event: job"
        # The job waits, so the response has not ended: a proxy that collected it would have passed on nothing.
        assert httpx2.get(f"{deployment.edge.url}/jobs/{job}", timeout=30).json()["status"] == "queued"


def test_a_client_cannot_claim_another_address(deployment: Deployment) -> None:
    """Rates are counted for the address of the connection."""
    environment = {"FORWARDED_ALLOW_IPS": "*", "ACGAN_READ_RATE": "3/hour"}
    deployment.world.environment.update(environment)
    replica = Api(deployment.world, patience=200, is_watched=False)
    edge = Edge(deployment.edge.log.parent, [replica])
    try:
        until_served(edge.url)  # probes are never counted
        statuses = [
            httpx2.get(f"{edge.url}/jobs", headers={"X-Forwarded-For": f"10.0.0.{number}"}).status_code
            for number in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
    finally:
        edge.end()
        replica.end()
        for name in environment:
            del deployment.world.environment[name]
