import re
from datetime import UTC, datetime, timedelta

from models.registry.store import CheckpointId
from worker.jobs.model import JOB_ID_PATTERN, TRANSITIONS, JobStatus, accepted_at, before, job_id_of


def test_only_success_is_final() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert [status for status, following in TRANSITIONS.items() if not following] == [JobStatus.SUCCEEDED]


def test_a_job_never_skips_the_running_state() -> None:
    assert JobStatus.SUCCEEDED not in TRANSITIONS[JobStatus.QUEUED]
    assert JobStatus.CANCELLED not in TRANSITIONS[JobStatus.RUNNING]


def test_the_possible_predecessors_of_a_state() -> None:
    assert before(JobStatus.RUNNING) == [JobStatus.QUEUED]
    assert before(JobStatus.QUEUED) == [JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED]


def test_ids_are_safe_and_sort_by_acceptance_and_after_every_older_id() -> None:
    start = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)
    ids = [job_id_of(start + timedelta(milliseconds=place // 10), place) for place in range(3000)]
    older = ["20260131-235957-ffffff", "20260131-235958-000000", "20260131-235958-ffffff"]
    assert older + ids == sorted({*older, *ids})
    assert all(re.match(JOB_ID_PATTERN, job_id) for job_id in older + ids)
    assert all(accepted_at(job_id) == start for job_id in (older[1], ids[0], ids[-1][:15] + "x"))
    assert accepted_at("made by a newer version") is None


def test_two_redis_servers_that_accept_in_the_same_millisecond_create_two_ids() -> None:
    moment = datetime(2026, 1, 31, 23, 59, 58, 123456, tzinfo=UTC)
    one, other = job_id_of(moment, 1), job_id_of(moment, 1)
    assert one != other
    assert one[:-16] == other[:-16] == "20260131-235958123-000001-"
    assert CheckpointId.parse(str(CheckpointId(one, 5))) == CheckpointId(one, 5)
