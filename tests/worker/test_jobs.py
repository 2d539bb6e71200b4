import re

from worker.jobs import JOB_ID_PATTERN, TRANSITIONS, JobStatus, new_job_id


def test_only_success_is_final() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert [status for status, following in TRANSITIONS.items() if not following] == [JobStatus.SUCCEEDED]


def test_a_job_never_skips_its_worker() -> None:
    assert JobStatus.SUCCEEDED not in TRANSITIONS[JobStatus.QUEUED]
    assert JobStatus.CANCELLED not in TRANSITIONS[JobStatus.RUNNING]


def test_ids_are_safe_sortable_and_differ() -> None:
    ids = [new_job_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.match(JOB_ID_PATTERN, job_id) for job_id in ids)
    assert ids[0][:15] <= ids[-1][:15]
