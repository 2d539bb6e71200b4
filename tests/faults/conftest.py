import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.world import Outcome, World, outcome, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """A world with one worker."""
    with world(tmp_path) as made:
        made.start_worker()
        yield made


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[World]:
    """A world with one worker, whose leases do not run out because a machine is slow."""
    with world(tmp_path, environment={"ACGAN_LEASE_SECONDS": "30"}) as made:
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
    """What the tiny run comes to when nobody disturbs it."""
    with world(tmp_path_factory.mktemp("undisturbed")) as made:
        made.start_worker()
        return outcome(made.store, made.until_ended(made.accept()))
