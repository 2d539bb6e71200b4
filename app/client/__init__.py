"""A client of the service, for programs: `Client`, and `AsyncClient` with the same calls to be awaited.

    from app.client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.train(epochs=2)
        for change in client.follow(job.id):
            print(change.job.status, change.job.progress)
        sevens = client.pixels(7, n=40)                     # numpy, uint8 (40, 28, 28)

Every call raises a ClientError that says in a sentence what went wrong: Refused for what the service does not do,
Unavailable where it says when to come again, Unreachable where no answer comes, NotUnderstood if an answer is not one
that a service of ours gives, Misconfigured if a proxy or certificates that the environment names cannot be used.
"""

from app.client.answers import Drawn
from app.client.awaited import AsyncClient
from app.client.blocking import Client
from app.client.errors import ClientError, Misconfigured, NotUnderstood, Refused, Unavailable, Unreachable
from app.client.following import Change
from worker.jobs.model import JobStatus

__all__ = [
    "AsyncClient",
    "Change",
    "Client",
    "ClientError",
    "Drawn",
    "JobStatus",
    "Misconfigured",
    "NotUnderstood",
    "Refused",
    "Unavailable",
    "Unreachable",
]
