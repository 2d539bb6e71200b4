"""Every Redis key.

    acgan:jobs               sorted set: every job id, by the order of acceptance
    acgan:jobs:{kind}        sorted set: job ids of one kind: `runs` (kind `training`), `datasets`, or
                             `imports` (kind `training_data`)
    acgan:jobs:{kind}:{st..} sorted set: job ids of one kind and status
    acgan:jobs:{kind}:by_... sorted sets: job ids of one kind, by name, number of the last epoch, and lowest Frechet
                             distance (`rank` in lua/)
    acgan:lines              hash: job id -> its name and tags, case-folded, for searches. Jobs that a search did not
                             index yet are in neither
    acgan:queue, :cpu, :gpu  sorted sets: the ids that wait for any worker, or for one kind, by priority and turn
    acgan:turns              hash: the current turn, and the turn of each caller's next job (`line_up` in lua/)
    acgan:delayed            sorted set: the ids that wait after their worker was lost, by the end of the wait
    acgan:leases             sorted set: the ids that a worker runs, by the expiry of its lease
    acgan:sequence           counter of requests for jobs, for the order of acceptance and the ids
    acgan:accepted           counter of accepted jobs, also of those that were deleted later
    acgan:fence              counter of claims: every claim gets a token higher than all earlier ones
    acgan:workers            sorted set: every worker, as `kind host:process`, by the time it was last seen; it expires
    acgan:pulses             sorted set: every training process, as `host:process`, by the time it was last seen
    acgan:loops              hash: process, as `host:process`, -> time of its report and the states of its loops
    acgan:stores             hash: address of a store -> its identity, so that no worker creates a new store there
    acgan:outbox             sorted set: messages about ends of jobs that are not delivered yet, by the next attempt
    acgan:message:{id}       hash: job, url, status, ended_at, epoch and attempts of such a message; name (of a job that
                             was renamed)
    acgan:events             stream: the last ten thousand changes of all jobs
    acgan:idempotency:{...}  hash: checksum of a caller's request, fingerprint of the order, id of its job; for a day
    acgan:rate:{...}         counters of each caller's recent requests; for two windows of the rate
    acgan:job:{id}           hash: kind, status, config, priority, runs_on, caller, turn, order, retry_of, created_at,
                             started_at, ended_at, progress, device, worker, error, trouble, warnings, fence, attempts
                             (number of claims), traceparent (the trace that the job belongs to); training_data,
                             result (what becomes of a file, and what became of it);
                             evaluation (what is evaluated); claim,
                             parent, lease, seen_at (of the claim: its name, the worker's parent process, the length of
                             the lease, and when the worker was last seen); deleting (when the deletion of its files
                             began); saved, lost, saved_when_lost (to count lost workers); thinned:{epoch} (when its
                             checkpoint was deleted to stay within the store's budget);
                             webhook (address of the messages about its ends, may be secret), ends (number of messages);
                             seconds_running (how long workers held it, in all finished claims), running_since (start of
                             the current claim);
                             name, notes, tags, archived (labels that were changed after the job was accepted)
    acgan:job:{id}:epochs    hash: epoch number -> its record, so that an epoch that is written twice is stored once
    acgan:job:{id}:live      list: the losses of the last minutes of a running job, as JSON; it expires
    acgan:job:{id}:sample    hash: entries (number of losses so far), number (of the entry with which a picture of ten
                             digits was drawn), epoch, batch, png (in base64) of a running job; it expires

A job's record does not expire, because its checkpoints do not either. A hundred epochs take about 120 KB.
"""

from worker.jobs.model import JobKind, JobStatus, RunsOn

JOBS = "acgan:jobs"
QUEUE = "acgan:queue"
TURNS = "acgan:turns"
DELAYED = "acgan:delayed"
LEASES = "acgan:leases"
LINES = "acgan:lines"
SEQUENCE = "acgan:sequence"
ACCEPTED = "acgan:accepted"
FENCE = "acgan:fence"
WORKERS = "acgan:workers"
PULSES = "acgan:pulses"
LOOPS = "acgan:loops"
STORES = "acgan:stores"
EVENTS = "acgan:events"
OUTBOX = "acgan:outbox"
MESSAGE_PREFIX = "acgan:message:"
RATES = "acgan:rate"
CELERY_PREFIX = "acgan:celery:"  # of the keys of Celery
NAMES_OF_LISTS = {JobKind.TRAINING: "runs", JobKind.TRAINING_DATA: "imports"}  # of other kinds: the plural
LISTS = {kind: f"{JOBS}:{NAMES_OF_LISTS.get(kind, f'{kind}s')}" for kind in JobKind}
JOB_PREFIX = "acgan:job:"
EPOCHS_SUFFIX = ":epochs"
LIVE_SUFFIX = ":live"
SAMPLE_SUFFIX = ":sample"
THINNED = "thinned:"  # fields of a record, one for each epoch


def job_key(job_id: str) -> str:
    return JOB_PREFIX + job_id


def epochs_key(job_id: str) -> str:
    return job_key(job_id) + EPOCHS_SUFFIX


def idempotency_key(caller: str | None, key: str) -> str:
    return f"acgan:idempotency:{caller or ''}:{key}"


def queue_key(runs_on: RunsOn) -> str:
    return QUEUE if runs_on == "any" else f"{QUEUE}:{runs_on}"


def index_key(kind: JobKind, status: JobStatus | None = None) -> str:
    return f"{LISTS[kind]}:{status.value}" if status else LISTS[kind]


def order_key(kind: JobKind, order: str) -> str:
    return f"{LISTS[kind]}:by_{order}"


def queue_name(runs_on: RunsOn) -> str:
    """Return the name of the Celery queue for messages about jobs of any worker, or of one kind of worker."""
    return "acgan-training" if runs_on == "any" else f"acgan-training-{runs_on}"


def shard_queue_name(kind: RunsOn) -> str:
    """Return the name of the Celery queue for shards of data sets whose owner is a worker of this kind."""
    return f"acgan-shards-{kind}"


def notifications_key(runs_on: RunsOn) -> str:
    """Return the key of the Redis list with the messages that no worker has received."""
    return CELERY_PREFIX + queue_name(runs_on)
