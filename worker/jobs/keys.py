"""Every Redis key.

    acgan:jobs               sorted set: every job id, by the order of acceptance
    acgan:jobs:{kind}        sorted set: those of one kind, `runs` or `datasets`
    acgan:jobs:{kind}:{st..} sorted set: those of one kind and status
    acgan:queue, :cpu, :gpu  sorted sets: the ids that wait for any worker, or for one of a kind, by priority and turn
    acgan:turns              hash: the turn that is served, and that each caller's next job gets (`line_up` in scripts)
    acgan:delayed            sorted set: the ids that wait until a time, after their worker was lost
    acgan:leases             sorted set: the ids that a worker runs, and until when it may
    acgan:helping            sorted set: the ids of data sets whose owners welcome help, by the tokens of their claims
    acgan:sequence           counter of accepted jobs, behind the order of acceptance and the ids
    acgan:fence              counter of claims: every claim gets a token higher than all before
    acgan:workers            sorted set: every worker, as `kind host:process`, and when it was seen; gone when none was
    acgan:pulses             sorted set: every training process, as `host:process`, and when it was last seen
    acgan:loops              hash: process, as `host:process`, -> when it reported, and the states of its loops
    acgan:stores             hash: address of a store -> its identity, so that no worker makes a new store in its place
    acgan:events             stream: the last ten thousand changes of all jobs
    acgan:idempotency:{...}  hash: fingerprint of a caller's request and the job it became; for a day
    acgan:rate:{...}         counters of how often each caller asked lately; for two windows of the rate
    acgan:job:{id}           hash: status, config, priority, runs_on, caller, turn, order, retry_of, created_at,
                             started_at, ended_at, progress, device, worker, error, trouble, warnings, fence; claim,
                             parent, lease, seen_at (name, parent process and length of the lease of the claim, and when
                             its worker was last seen); deleting (since when its files are being deleted);
                             saved, lost, saved_when_lost count lost workers; of a data set also code, part_seconds,
                             and helped:{device}; thinned:{epoch}, when its checkpoint was deleted to stay within the
                             store's budget
    acgan:job:{id}:epochs    hash: epoch number -> its record, so that an epoch told twice is there once
    acgan:job:{id}:parts     sorted set: the parts of a data set that nobody has drawn, and until when somebody draws
                             each; as long as help is welcome (worker/handlers/sharing.py)

A job's record does not expire: it lives as long as its checkpoints may. A hundred epochs take about 120 KB.
"""

from worker.jobs.model import JobStatus, RunsOn

JOBS = "acgan:jobs"
QUEUE = "acgan:queue"
TURNS = "acgan:turns"
DELAYED = "acgan:delayed"
LEASES = "acgan:leases"
HELPING = "acgan:helping"
SEQUENCE = "acgan:sequence"
FENCE = "acgan:fence"
WORKERS = "acgan:workers"
PULSES = "acgan:pulses"
LOOPS = "acgan:loops"
STORES = "acgan:stores"
EVENTS = "acgan:events"
RATES = "acgan:rate"
CELERY_PREFIX = "acgan:celery:"  # of Celery's own keys


def job_key(job_id: str) -> str:
    return f"acgan:job:{job_id}"


def epochs_key(job_id: str) -> str:
    return f"acgan:job:{job_id}:epochs"


def parts_key(job_id: str) -> str:
    return f"acgan:job:{job_id}:parts"


def idempotency_key(caller: str | None, key: str) -> str:
    return f"acgan:idempotency:{caller or ''}:{key}"


def queue_key(runs_on: RunsOn) -> str:
    return QUEUE if runs_on == "any" else f"{QUEUE}:{runs_on}"


def index_key(datasets: bool, status: JobStatus | None = None) -> str:
    kind = "datasets" if datasets else "runs"
    return f"{JOBS}:{kind}:{status.value}" if status else f"{JOBS}:{kind}"


def queue_name(runs_on: RunsOn) -> str:
    """Celery's queue of the knocks for jobs that any worker takes, or those with or without a GPU."""
    return "acgan-training" if runs_on == "any" else f"acgan-training-{runs_on}"


def knocks_key(runs_on: RunsOn) -> str:
    """The list in Redis of such knocks that no worker has heard."""
    return CELERY_PREFIX + queue_name(runs_on)
