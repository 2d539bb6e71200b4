import re
from datetime import UTC, datetime, timedelta

from worker.jobs import JOB_ID_PATTERN, TRANSITIONS, JobStatus, before, job_id_of


def test_only_success_is_final() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert [status for status, following in TRANSITIONS.items() if not following] == [JobStatus.SUCCEEDED]


def test_a_job_never_skips_its_worker() -> None:
    assert JobStatus.SUCCEEDED not in TRANSITIONS[JobStatus.QUEUED]
    assert JobStatus.CANCELLED not in TRANSITIONS[JobStatus.RUNNING]


def test_what_may_precede_a_state() -> None:
    assert before(JobStatus.RUNNING) == [JobStatus.QUEUED]
    assert before(JobStatus.QUEUED) == [JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED]


def test_ids_are_safe_and_sort_by_acceptance() -> None:
    start = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)
    ids = [job_id_of(start + timedelta(seconds=place // 100), place) for place in range(300)]
    assert ids == sorted(set(ids))
    assert ids[0] == "20260131-235958-000000"
    assert all(re.match(JOB_ID_PATTERN, job_id) for job_id in ids)
