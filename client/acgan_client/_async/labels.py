"""The calls about how a list shows jobs: their labels and small pictures."""

from typing import Unpack

from acgan_client._async.transport import AsyncTransport
from acgan_client.calls import JobLabels, JobRef, Options, at, change, get, id_of, split
from acgan_client.pictures import Picture
from acgan_client.records import Job
from acgan_client.responses import parser


class AsyncLabels(AsyncTransport):
    """The part of the client that labels jobs."""

    async def update_job(self, job: JobRef, **labels: Unpack[JobLabels]) -> Job:
        """Change name, notes or tags of a job, or archive it."""
        return await self._send(change("PATCH", at("jobs", id_of(job)), parser(Job), *split(labels)))

    async def thumbnail(self, job: JobRef, epoch: int, **options: Unpack[Options]) -> Picture:
        """Return generated images of an epoch, of its first ten classes, as a PNG: 140 x 56 pixels if it has ten."""
        return await self._send(get(at("jobs", id_of(job), "epochs", epoch, "thumbnail.png"), Picture.of, options))
