"""The calls about training data, and those that draw the images of any of it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from acgan_client._async.exploration import AsyncExploration
from acgan_client.calls import (
    DigitsQuery,
    Options,
    PixelsQuery,
    TrainingDataFields,
    at,
    change,
    get,
    get_record,
    images_path,
    training_data_file,
)
from acgan_client.deadlines import async_run_blocking
from acgan_client.pictures import Drawn, Picture, pixels
from acgan_client.records import Job
from acgan_client.records.checkpoints import TrainingData, TrainingDataList
from acgan_client.responses import LIST_LIMIT, ignored

if TYPE_CHECKING:  # optional
    import numpy as np


class AsyncTrainingData(AsyncExploration):
    """The part of the client that knows training data by name: `letters`, or `letters@2` for its second version."""

    async def images(self, dataset: str, label: str | int | None = None, **query: Unpack[DigitsQuery]) -> Drawn:
        """Draw images of one class, by its name or label, or of all classes, as a file.

        `checkpoint` may be `latest` or `best` of the data set, or the id of one of its checkpoints.
        """
        return await self._send(get(images_path(dataset, label), Drawn.of, query))

    async def image_pixels(
        self, dataset: str, label: str | int | None = None, **query: Unpack[PixelsQuery]
    ) -> "np.ndarray":
        """Draw images as an array: uint8 (n, 28, 28), or of all classes (n, number of classes, 28, 28)."""
        return await self._send(get(images_path(dataset, label), pixels, {**query, "format": "npy"}))

    async def training_data(self, **options: Unpack[Options]) -> list[TrainingData]:
        """Return the built-in sets, and the newest version of each set that users brought."""
        call = get_record("/training-data", TrainingDataList, options, LIST_LIMIT)
        return (await self._send(call)).training_data

    async def training_data_set(self, name: str, **options: Unpack[Options]) -> TrainingData:
        """Return one data set: the version that is named, or the newest."""
        return await self._send(get_record(at("training-data", name), TrainingData, options))

    async def training_data_preview(self, name: str, **options: Unpack[Options]) -> Picture:
        """Return a picture of some of its images, a PNG."""
        return await self._send(get(at("training-data", name, "preview.png"), Picture.of, options))

    async def add_training_data(
        self,
        name: str,
        images: bytes | Path | str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[TrainingDataFields],
    ) -> Job:
        """Make training data from labelled images, as the next version of a name.

        `images` is the path or the bytes of a file: a zip or tar archive with one folder a class, or with IDX, npz, CSV
        or parquet files, or one such file. Returns the job that reads it: `wait` returns the job when it has ended, and
        its `result` names the version.
        """
        call = await async_run_blocking(partial(training_data_file, name, images, fields, idempotency_key))
        return await self._send(call)

    async def delete_training_data(self, name: str, **options: Unpack[Options]) -> None:
        """Remove training data that a user brought: one version, as `letters@2`, or all, as `letters`."""
        await self._send(change("DELETE", at("training-data", name), ignored, options, repeatable=False))
