"""JOB and DATASET arguments: an id, the beginning of an id, the name of a run, or `latest`.

All commands resolve them here, with at most `REQUESTS` requests for each kind of job; a complete id needs none.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from app.cli.errors import fail
from app.cli.hints import HINTS
from models.bounded_reading import printable
from worker.jobs.model import JOB_ID_PATTERN

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Dataset, Job, UnreadableJob

LATEST = "latest"
PAGE, REQUESTS = 100, 10  # jobs in a request, and requests
MOST = PAGE * (REQUESTS - 1)  # jobs: the client keeps back the last one of a page until it has the next page
MOST_LISTED = 5
BEGINNING = re.compile(r"\d[0-9a-f-]*")
WITH_TIME = re.compile(r"\d{8}-\d{6}[0-9a-f-]*")  # long enough to stop at older jobs, and no usual name


class JobList(StrEnum):
    RUNS = "run"
    DATASETS = "data set"


BOTH = (JobList.RUNS, JobList.DATASETS)
RUNS, DATASETS = (JobList.RUNS,), (JobList.DATASETS,)


class Candidate(NamedTuple):
    id: str
    name: str


def find_job(client: "Client", text: str, lists: tuple[JobList, ...] = BOTH, has_latest: bool = True) -> str:
    """Return the id of the job that the user means: `latest` is the newest of the first list.

    Ends the command with a sentence, and exit code 2, if there is no such job, or more than one. Raises ClientError.
    """
    if re.match(JOB_ID_PATTERN, text):
        return text
    if has_latest and text == LATEST:
        if (job := newest(client, lists[0])) is None:
            fail(f"there is no {lists[0]} yet: {HINTS[hint_of(lists)]}")
        return job.id
    if not text or (lists == DATASETS and not BEGINNING.fullmatch(text)):
        fail_without(text, lists, all_seen=True)
    found, all_seen = search(client, text, lists)
    if len(found) > 1:
        fail(f"{text!r} can be {len(found)} jobs: {listed(found)}: pass the whole id, or a longer beginning of it")
    if not found:
        fail_without(text, lists, all_seen)
    return found[0].id


def search(client: "Client", text: str, lists: tuple[JobList, ...]) -> tuple[list[Candidate], bool]:
    """Return the jobs whose id begins with the text or whose name it is, and whether all jobs were searched."""
    found, all_seen = list[Candidate](), True
    for kind in lists:
        if kind is JobList.DATASETS and not BEGINNING.fullmatch(text):
            continue  # data sets have no names
        for seen, candidate in enumerate(candidates(client, kind), start=1):
            if candidate.id.startswith(text) or candidate.name == text:
                found.append(candidate)
            elif WITH_TIME.fullmatch(text) and candidate.id < text:
                break  # the others are older
            if seen == MOST:
                all_seen = False
    return found, all_seen


def candidates(client: "Client", kind: JobList) -> Iterator[Candidate]:
    """Yield the jobs, newest first: at most MOST."""
    found = client.iter_datasets(page_size=PAGE) if kind is JobList.DATASETS else client.iter_jobs(page_size=PAGE)
    for job in islice(found, MOST):
        yield Candidate(job.id, name_of(job))


def newest(client: "Client", kind: JobList) -> "Job | UnreadableJob | Dataset | None":
    if kind is JobList.DATASETS:
        return next(iter(client.datasets(1).datasets), None)
    return next(iter(client.jobs(1, epochs="last").jobs), None)


def name_of(job: "Job | UnreadableJob | Dataset") -> str:
    if hasattr(job, "name"):
        return job.name or ""
    config = getattr(job, "config", None)
    name = config.get("name") if isinstance(config, dict) else getattr(config, "name", None)
    return name if isinstance(name, str) else ""


def listed(found: list[Candidate]) -> str:
    shown = [f"{each.id} ({each.name})" if each.name else each.id for each in found[:MOST_LISTED]]
    more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    return printable(", ".join(shown)) + more


def fail_without(text: str, lists: tuple[JobList, ...], all_seen: bool) -> NoReturn:
    where = "" if all_seen else f" among the newest {MOST:,}; pass its id if it is older"
    fail(f"there is no {' or '.join(lists)} {text!r}{where}: {HINTS[hint_of(lists)]}")


def hint_of(lists: tuple[JobList, ...]) -> str:
    return "dataset-not-found" if lists[0] is JobList.DATASETS else "job-not-found"
