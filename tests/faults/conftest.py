import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.places import PLACES
from tests.faults.world import LEASE_SECONDS, PACE, Outcome, World, outcome, world
from tests.support.s3_endpoint import Endpoint


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Endpoint | None:
    """Where checkpoints lie: in an endpoint's bucket, or in a folder where there is none."""
    if request.param == "folder":
        return None
    endpoint: Endpoint = request.getfixturevalue("endpoint")
    return endpoint


@pytest.fixture
def here(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    """A world with one worker."""
    with world(tmp_path, endpoint=place) as made:
        made.start_worker()
        yield made


@pytest.fixture
def patient(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    """A world with one worker, whose leases do not run out because a machine is slow."""
    leases = {"ACGAN_LEASE_SECONDS": str(10 * LEASE_SECONDS * PACE)}
    with world(tmp_path, environment=leases, endpoint=place) as made:
        made.start_worker()
        yield made


@pytest.fixture
def api(here: World) -> Iterator[Api]:
    """The API of that world."""
    made = Api(here)
    yield made
    made.end()


@pytest.fixture
def seed() -> int:
    """Of the random moments: another each time, and told by a test that fails."""
    return random.randrange(10**6)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the tiny run comes to when nobody disturbs it, wherever its checkpoints lie."""
    with world(tmp_path_factory.mktemp("undisturbed")) as made:
        made.start_worker()
        return outcome(made.store, made.until_ended(made.accept()))
