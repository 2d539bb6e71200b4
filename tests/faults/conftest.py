import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.places import PLACES
from tests.faults.world import LEASE_SECONDS, PACE, Outcome, World, outcome, running_world
from tests.support.s3_endpoint import Endpoint


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Endpoint | None:
    """The endpoint whose bucket stores the checkpoints, or None if a folder stores them."""
    if request.param == "folder":
        return None
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    return endpoint


@pytest.fixture
def world(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    """A world with one worker."""
    with running_world(tmp_path, endpoint=place) as made:
        made.start_worker()
        yield made


@pytest.fixture
def lasting_world(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    """A world with one worker, whose leases do not expire on a slow machine."""
    leases = {"ACGAN_LEASE_SECONDS": str(10 * LEASE_SECONDS * PACE)}
    with running_world(tmp_path, environment=leases, endpoint=place) as made:
        made.start_worker()
        yield made


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    """The API of that world."""
    made = Api(world)
    yield made
    made.end()


@pytest.fixture
def seed() -> int:
    """The seed of random moments: a different one each time; a failing test shows it."""
    return random.randrange(10**6)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The result of the tiny run without any disturbance, in a folder or a bucket."""
    with running_world(tmp_path_factory.mktemp("undisturbed")) as made:
        made.start_worker()
        return outcome(made.store, made.until_ended(made.accept()))
