"""A Python client of the service: `Client`, and `AsyncClient` with the same methods as coroutines.

    from app.client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.train(epochs=2)
        for change in client.follow(job.id):
            print(change.job.status, change.job.progress)
        sevens = client.pixels(7, n=40)                     # numpy, uint8 (40, 28, 28)

Every call raises a ClientError whose message is one sentence: Refused if the service rejects the request, Unreachable
if no response arrives, NotUnderstood if a response is not from an acgan service, Misconfigured if a proxy or
certificates in the environment cannot be used. A Refused has the `code` of the error, and is a NotFound, Conflict,
InvalidInput, NotAllowed or Unavailable (429, 503: with a time to retry). REFUSED has a class for each code:

    except REFUSED["queue-full"] as full:
        sleep(full.retry_after)
"""

from app.client.answers import Drawn
from app.client.awaited import AsyncClient
from app.client.blocking import Client
from app.client.errors import (
    REFUSED,
    ClientError,
    Conflict,
    InvalidInput,
    Misconfigured,
    NotAllowed,
    NotFound,
    NotUnderstood,
    Refused,
    Unavailable,
    Unreachable,
)
from app.client.following import Change
from worker.jobs.model import JobStatus

__all__ = [
    "REFUSED",
    "AsyncClient",
    "Change",
    "Client",
    "ClientError",
    "Conflict",
    "Drawn",
    "InvalidInput",
    "JobStatus",
    "Misconfigured",
    "NotAllowed",
    "NotFound",
    "NotUnderstood",
    "Refused",
    "Unavailable",
    "Unreachable",
]
