# Written by client/make_sync.py: change the file of the same name in _async instead.
"""The calls that bring training data of one's own."""

from functools import partial
from pathlib import Path
from typing import Unpack

from acgan_client._sync.weights import Weights
from acgan_client.calls import TrainingDataFields, training_data
from acgan_client.deadlines import run_blocking
from acgan_client.records import Job


class AsyncTrainingData(Weights):
    """The part of the client that brings training data."""

    def add_training_data(
        self,
        name: str,
        images: bytes | Path | str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[TrainingDataFields],
    ) -> Job:
        """Make training data of the labelled images in a file, as the next version of a name: its path, or its bytes.

        The file is a zip or tar archive with one folder a class, or with IDX, npz, CSV or parquet files, or one such
        file. Returns the job that reads it: `wait` returns the job when it has ended, and `result` of that names the
        version.
        """
        call = run_blocking(partial(training_data, name, images, fields, idempotency_key))
        return self._send(call)
