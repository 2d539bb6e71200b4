"""The soak's tables, its list of faults, and its detection of violations."""

import time
from pathlib import Path

import pytest

from tests.faults import disturbances
from tests.faults.disturbances import FAULTS, Disturbances, NotPossible, replaced_by_folder
from tests.faults.invariants import INVARIANTS, Report, Serving, check_all
from tests.faults.set_clock import LIBRARY, RedisWithClock
from tests.faults.soak import invariants_table
from tests.faults.test_invariants import good, job, store
from tests.faults.world import World, running_world
from tests.models.registry.test_store import NEW

__all__ = ["good", "store"]  # fixtures


def test_each_fault_exists_and_is_listed_once() -> None:
    methods = [name for name, value in vars(Disturbances).items() if callable(value) and not name.startswith("_")]
    helpers = {"training", "working", "replace", "flip", "pause_redis"}
    assert sorted(FAULTS) == sorted(set(methods) - helpers)


def test_checks_and_violations_are_counted_for_each_invariant(good: tuple[object, object]) -> None:
    store, mine = good
    report = check_all(store, [mine], Serving(f"{NEW}0-e002", None), [[f"{NEW}-e001", f"{NEW}0-e001"]])  # type: ignore[arg-type, list-item]
    assert report.violations == []
    assert all(report.checks[letter] > 0 for letter in INVARIANTS)
    bad = Report()
    bad.check("ac", "it is gone")
    bad.check("d", None)
    report.add(bad)
    assert (report.count("a"), report.count("c"), report.count("d"), report.count("e")) == (1, 1, 0, 0)
    assert invariants_table(report).row_count == len(INVARIANTS)


def test_each_series_of_served_checkpoints_is_checked(good: tuple[object, object]) -> None:
    store, _ = good
    newer, older = f"{NEW}0-e002", f"{NEW}-e001"
    assert check_all(store, [], Serving(newer, None), [[newer], [older, newer]]).violations == []  # type: ignore[arg-type]
    assert check_all(store, [], Serving(newer, None), [[newer, older], [older]]).count("d") == 1  # type: ignore[arg-type]


def test_a_record_that_names_a_damaged_checkpoint_is_found(good: tuple[object, object]) -> None:
    store, _ = good
    assert check_all(store, [job("missing-job")]).count("a") == 2  # type: ignore[arg-type]


def test_one_bit_is_flipped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with running_world(tmp_path / "world") as world:
        Disturbances(world, seed=1).flip(path)
        assert sum(byte.bit_count() for byte in path.read_bytes()) == 1
        with pytest.raises(NotPossible):
            Disturbances(world, seed=1).flip(tmp_path / "none")


def test_a_hidden_file_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "fence"
    path.write_text("7")
    with replaced_by_folder(path):
        assert path.is_dir()
    assert path.read_text() == "7"


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_the_clock_of_redis_can_be_set_while_it_runs(tmp_path: Path) -> None:
    server = RedisWithClock(tmp_path / "redis")
    try:
        with server.client() as client:
            before = client.time()[0]
            for offset, least, most in (("+10y", 9 * 365 * 86400, 11 * 365 * 86400), ("+0", 0, 60)):
                server.set_clock(offset)
                deadline = time.monotonic() + 60
                while not least <= client.time()[0] - before <= most:  # the server reads it in its next round
                    assert time.monotonic() < deadline, offset
                    time.sleep(0.05)
    finally:
        server.kill()


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["flip_in_checkpoint", "add_undecodable_records", "stop_trainer_for_good"])
def test_each_fault_of_the_soak_is_survived(tmp_path: Path, fault: str) -> None:
    with running_world(tmp_path) as world:
        survive(world, fault)


def survive(world: World, fault: str) -> None:
    world.start_worker()
    job_id = world.accept()
    world.until("a third epoch", lambda: len(world.job(job_id).epochs) >= 3)
    getattr(Disturbances(world, seed=3), fault)(job_id)
    ended = world.until_ended(job_id)
    assert (fault == "flip_in_checkpoint") == (ended.trouble is not None)
    assert world.broken_invariants() == []


def test_undecodable_bytes_are_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        disturbances.NOT_UTF8.decode()
