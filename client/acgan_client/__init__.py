"""A Python client of acgan: `Client`, and `AsyncClient` with the same methods as coroutines.

    from acgan_client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.wait(client.train(epochs=2))
        client.digits(7, n=40, checkpoint=job.checkpoint or "latest").save("sevens.png")
        sevens = client.pixels(7, n=40)                     # numpy, uint8 (40, 28, 28)

Every call raises a ClientError whose message is one sentence: acgan_client.errors shows the classes, and
acgan_client.problems has one for each kind of error response.
"""

from acgan_client._async.client import AsyncClient
from acgan_client._sync.client import Client
from acgan_client.errors import (
    ClientError,
    Conflict,
    InvalidInput,
    JobFailed,
    Misconfigured,
    NotAllowed,
    NotFound,
    NotUnderstood,
    Refused,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from acgan_client.exploration import DrawnNeighbours, DrawnTraversal
from acgan_client.following import Change
from acgan_client.pictures import Drawn, DrawnNumber, Picture
from acgan_client.records import Dataset, Epoch, Job, JobStatus, TrainingConfig, UnreadableJob
from acgan_client.records.checkpoints import Checkpoint, ImportedCheckpoint, TrainingData
from acgan_client.records.evaluations import Evaluation
from acgan_client.version import __version__

__all__ = [
    "AsyncClient",
    "Change",
    "Checkpoint",
    "Client",
    "ClientError",
    "Conflict",
    "Dataset",
    "Drawn",
    "DrawnNeighbours",
    "DrawnNumber",
    "DrawnTraversal",
    "Epoch",
    "Evaluation",
    "ImportedCheckpoint",
    "InvalidInput",
    "Job",
    "JobFailed",
    "JobStatus",
    "Misconfigured",
    "NotAllowed",
    "NotFound",
    "NotUnderstood",
    "Picture",
    "Refused",
    "TrainingConfig",
    "TrainingData",
    "Unavailable",
    "Unreachable",
    "UnreadableJob",
    "WaitTimeout",
    "__version__",
]
