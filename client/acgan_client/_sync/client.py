# Written by client/make_sync.py: change the file of the same name in _async instead.
"""The calls of the service: a method for each."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from pydantic import BaseModel

from acgan_client._sync.evaluations import Evaluations
from acgan_client._sync.labels import Labels
from acgan_client._sync.training_data import TrainingDataCalls
from acgan_client._sync.weights import Weights
from acgan_client.archives import Layout, arriving_archive
from acgan_client.calls import (
    STREAM_SECONDS,
    CheckpointRef,
    DigitsQuery,
    EvolutionQuery,
    JobRef,
    JobsQuery,
    Judged,
    MorphQuery,
    NumbersQuery,
    Options,
    OrderFields,
    PixelsQuery,
    Policy,
    TrainFields,
    at,
    change,
    digits_path,
    fields_of,
    get,
    get_record,
    id_of,
    submit,
)
from acgan_client.deadlines import run_blocking, sleep, stream
from acgan_client.downloads import MANIFEST, MANIFEST_LIMIT, arriving, files_of, is_whole
from acgan_client.errors import JobFailed, Unavailable, Unreachable
from acgan_client.following import Change, Follower, Wait
from acgan_client.pages import Pages
from acgan_client.pictures import Drawn, DrawnNumber, Picture, pixels
from acgan_client.records import (
    Dataset,
    DatasetList,
    DatasetManifest,
    Job,
    JobList,
    JobStatus,
    UnreadableJob,
)
from acgan_client.records.checkpoints import (
    Checkpoint,
    CheckpointList,
    JobHistory,
    Readiness,
    Serving,
    UnusableCheckpoint,
)
from acgan_client.records.evaluations import Evaluation
from acgan_client.records.live import Live
from acgan_client.responses import LIST_LIMIT, check, ignored, in_a_sentence, parser, text

if TYPE_CHECKING:  # optional
    import numpy as np


AnyEnded = Job | Dataset | Evaluation


class Client(Labels, TrainingDataCalls, Weights, Evaluations):
    """Sends requests to the service at `url`, with the API key `key` if it requires one.

    If omitted, they are ACGAN_URL (or http://127.0.0.1:8000) and ACGAN_KEY of the environment. `timeout_seconds` limits
    each step of a request: to connect, to send, to read. A request whose response was lost is sent again if it is
    idempotent. `follow` and `wait` continue after a restart of the service, unless that lasts longer than
    `patience_seconds`. Every method raises a ClientError.
    """

    # ----------------------------------------------------------------------------
    # Runs.

    def train(
        self,
        config: BaseModel | Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[TrainFields],
    ) -> Job:
        """Start a run with the fields of `config` and the given ones. Without any, it has the original recipe."""
        return self._send(submit("/train", Job, {**fields_of(config), **fields}, idempotency_key))

    def jobs(
        self,
        limit: int = 20,
        status: JobStatus | str | None = None,
        before: str | None = None,
        epochs: Literal["all", "last"] | None = None,
        **selection: Unpack[JobsQuery],
    ) -> JobList:
        """Return a page of runs, or jobs of another kind: those after `before`, the last job of the page before."""
        query = {"limit": limit, "status": status, "before": before, "epochs": epochs, **selection}
        return self._send(get_record("/jobs", JobList, query, LIST_LIMIT))

    def iter_jobs(
        self,
        status: JobStatus | str | None = None,
        epochs: Literal["all", "last"] | None = "last",
        page_size: int = 100,
        **selection: Unpack[JobsQuery],
    ) -> Iterator[Job | UnreadableJob]:
        """Yield all runs, or those that are selected, with all epochs of each, or only the last."""
        pages = Pages[Job | UnreadableJob]()
        while not pages.ended:
            selection["at"] = pages.at
            page = self.jobs(page_size, status, pages.before, epochs, **selection)
            for job in pages.take(page.jobs, page.next):
                yield job

    def job(self, job: JobRef, **options: Unpack[Options]) -> Job:
        return self._send(get_record(at("jobs", id_of(job)), Job, options))

    def cancel(self, job: JobRef, **options: Unpack[Options]) -> Job:
        return self._send(change("POST", at("jobs", id_of(job), "cancel"), parser(Job), options))

    def resume(self, job: JobRef, **options: Unpack[Options]) -> Job:
        return self._send(change("POST", at("jobs", id_of(job), "resume"), parser(Job), options))

    def retry(self, job: JobRef, **options: Unpack[Options]) -> Job:
        """Start a new job with the recipe of this one. Returns the new job."""
        return self._send(change("POST", at("jobs", id_of(job), "retry"), parser(Job), options, repeatable=False))

    def move_to_front(self, job: JobRef, **options: Unpack[Options]) -> Job:
        return self._send(change("POST", at("jobs", id_of(job), "front"), parser(Job), options))

    def delete_job(self, job: JobRef, **options: Unpack[Options]) -> None:
        """Delete an ended run, with its checkpoints."""
        self._send(change("DELETE", at("jobs", id_of(job)), ignored, options, repeatable=False))

    def history(self, job: JobRef, **options: Unpack[Options]) -> JobHistory:
        return self._send(get_record(at("jobs", id_of(job), "history.json"), JobHistory, options))

    def history_csv(self, job: JobRef, **options: Unpack[Options]) -> str:
        return self._send(get(at("jobs", id_of(job), "history.csv"), text, options))

    def live(self, job: JobRef, after: int = 0, **options: Unpack[Options]) -> Live:
        """Return losses of a running job's last iterations and a sample of ten images, if newer than `after`."""
        return self._send(get_record(at("jobs", id_of(job), "live"), Live, {"after": after, **options}))

    def samples(self, job: JobRef, epoch: int, **options: Unpack[Options]) -> Picture:
        """Return the plot of an epoch, a PNG."""
        return self._send(get(at("jobs", id_of(job), "epochs", epoch, "samples.png"), Picture.of, options))

    def follow(self, job: JobRef) -> Iterator[Change]:
        """Yield every change until the job has ended. The last one has the final record.

        Yields each finished epoch once, also those that finished before the call. Raises Refused; and Unreachable or
        Unavailable if that lasts for `patience_seconds`.
        """
        follower = Follower(id_of(job), self.patience_seconds)
        while True:
            try:
                if follower.ended:
                    yield Change("job", self.job(job))
                    return
                call = follower.call()
                with in_a_sentence(self.route):
                    with stream(self.http, "GET", call.path, headers=call.headers, timeout=STREAM_SECONDS) as response:
                        if response.status_code != 200:
                            check(self._read(response), self.route.by)
                            follower.ended = True  # 204: the stream has no more events
                            continue
                        for event in follower.events(response):
                            for each in follower.take(event):
                                yield each
                pause = 0.0 if follower.ended else follower.wait()
            except (Unavailable, Unreachable) as error:
                pause = follower.wait(error)
            sleep(pause)

    @overload
    def wait(self, job: Dataset, *, timeout_seconds: float | None = None, check: bool = True) -> Dataset: ...
    @overload
    def wait(self, job: Evaluation, *, timeout_seconds: float | None = None, check: bool = True) -> Evaluation: ...
    @overload
    def wait(
        self, job: str | Job | UnreadableJob, *, timeout_seconds: float | None = None, check: bool = True
    ) -> Job: ...
    def wait(self, job: JobRef, *, timeout_seconds: float | None = None, check: bool = True) -> AnyEnded:
        """Return the final record of a run, a generated data set or an evaluation, as soon as it has ended.

        Raises JobFailed if it failed or was cancelled and `check` is true, WaitTimeout after `timeout_seconds`, and
        Unreachable or Unavailable if that lasts for `patience_seconds`.
        """
        waiting = Wait(id_of(job), timeout_seconds, self.patience_seconds)
        while True:
            try:
                left = waiting.deadline.left
                record = self._current(job, timeout_seconds=left)
                if record.ended:
                    break
                pause = waiting.pause(record)
            except (Unavailable, Unreachable) as error:
                pause = waiting.pause_after(error)
            sleep(pause)
        if check and record.status != JobStatus.SUCCEEDED:
            raise JobFailed(record)
        return record

    def _current(self, job: JobRef, **options: Unpack[Options]) -> AnyEnded:
        if isinstance(job, Evaluation):
            return self.evaluation(job, **options)
        return self.dataset(job, **options) if isinstance(job, Dataset) else self.job(job, **options)

    # ----------------------------------------------------------------------------
    # Digits and checkpoints.

    def digits(self, label: int | None = None, **query: Unpack[DigitsQuery]) -> Drawn:
        """Draw digits of one label, or of all ten, as a file."""
        return self._send(get(digits_path(label), Drawn.of, query))

    def pixels(self, label: int | None = None, **query: Unpack[PixelsQuery]) -> "np.ndarray":
        """Draw digits as an array: uint8 (n, 28, 28), or of all ten classes (n, 10, 28, 28)."""
        return self._send(get(digits_path(label), pixels, {**query, "format": "npy"}))

    def numbers(self, number: str, **query: Unpack[NumbersQuery]) -> DrawnNumber:
        """Draw a number of up to 40 decimal digits in one style of writing, as a PNG; as npy, its digits."""
        return self._send(get(at("numbers", number), DrawnNumber.of, query))

    def morph(self, first: int, last: int, **query: Unpack[MorphQuery]) -> Drawn:
        """Draw an animation from one digit to another."""
        return self._send(get(at("morph", first, last), Drawn.of, query))

    def evolution(self, job: JobRef, label: int | str, **query: Unpack[EvolutionQuery]) -> Picture:
        """Draw one address with every epoch of a run: a strip as PNG, or an animation.

        `label` is the name of a class, or its label.
        """
        return self._send(get(at("jobs", id_of(job), "evolution", label), Picture.of, query))

    def checkpoints(self, **options: Unpack[Options]) -> CheckpointList:
        return self._send(get_record("/checkpoints", CheckpointList, options, LIST_LIMIT))

    def iter_checkpoints(self, **options: Unpack[Options]) -> Iterator[Checkpoint]:
        """Yield the usable checkpoints, newest first."""
        for checkpoint in (self.checkpoints(**options)).checkpoints:
            yield checkpoint

    def checkpoint(self, checkpoint: CheckpointRef, **options: Unpack[Options]) -> Checkpoint:
        return self._send(get_record(at("checkpoints", id_of(checkpoint)), Checkpoint, options))

    def delete_checkpoint(self, checkpoint: CheckpointRef | UnusableCheckpoint, **options: Unpack[Options]) -> None:
        """Delete a checkpoint that is neither served nor needed."""
        self._send(change("DELETE", at("checkpoints", id_of(checkpoint)), ignored, options, repeatable=False))

    def serving(self, **options: Unpack[Options]) -> Serving:
        return self._send(get_record("/serving", Serving, options))

    def serve(
        self,
        policy: Policy = "newest",
        checkpoint: CheckpointRef | None = None,
        *,
        dataset: str | None = None,
        by: Judged | None = None,
        **options: Unpack[Options],
    ) -> Serving:
        """Serve the newest checkpoint of a data set, the best `by` epochs or evaluations, or the `pinned` one."""
        named = {"checkpoint": checkpoint and id_of(checkpoint), "dataset": dataset, "by": by}
        body = {"policy": policy, **{name: value for name, value in named.items() if value}}
        return self._send(change("PUT", "/serving", parser(Serving), options, body))

    def readiness(self, **options: Unpack[Options]) -> Readiness:
        return self._send(get_record("/readyz", Readiness, options))

    # ----------------------------------------------------------------------------
    # Generated data sets.

    def order(self, *, idempotency_key: str | None = None, **fields: Unpack[OrderFields]) -> Dataset:
        """Generate a data set. `wait` returns it when it is complete, and `download` writes its files."""
        return self._send(submit("/datasets", Dataset, fields, idempotency_key))

    def dataset(self, dataset: JobRef, **options: Unpack[Options]) -> Dataset:
        return self._send(get_record(at("datasets", id_of(dataset)), Dataset, options))

    def datasets(
        self,
        limit: int = 20,
        before: str | None = None,
        status: JobStatus | str | None = None,
        at: str | None = None,
        **options: Unpack[Options],
    ) -> DatasetList:
        """Return a page of generated data sets, newest first: those ordered before the data set `before`.

        `at` is its position, as `next` of a page has it: then the data set may be deleted.
        """
        query = {"limit": limit, "status": status, "before": before, "at": at, **options}
        return self._send(get_record("/datasets", DatasetList, query, LIST_LIMIT))

    def iter_datasets(
        self, status: JobStatus | str | None = None, page_size: int = 100, **options: Unpack[Options]
    ) -> Iterator[Dataset | UnreadableJob]:
        """Yield all generated data sets, newest first."""
        pages = Pages[Dataset | UnreadableJob]()
        while not pages.ended:
            page = self.datasets(page_size, pages.before, status, pages.at, **options)
            for dataset in pages.take(page.datasets, page.next):
                yield dataset

    def delete_dataset(self, dataset: JobRef, **options: Unpack[Options]) -> None:
        """Delete the files of a generated data set."""
        self._send(change("DELETE", at("datasets", id_of(dataset)), ignored, options, repeatable=False))

    def download(self, dataset: JobRef, folder: Path | str, layout: Layout = "mnist") -> Iterator[Path]:
        """Download a data set into a folder, in the layout that a library reads, and yield the path of each file.

        `mnist`: the gzipped IDX files, each checked against its SHA-256; files that are already complete are kept.
        `torchvision`, `keras` and `huggingface`: one archive, checked and unpacked; files with the same content are
        kept. Raises Refused until the data set is complete. Raises NotUnderstood, and leaves no partial file, if a file
        is damaged or the service names files that no data set has. Raises Misconfigured instead of replacing another
        README.md.
        """
        name = id_of(dataset)
        call = get_record(at("datasets", name, MANIFEST), DatasetManifest, {}, MANIFEST_LIMIT)
        manifest = self._send(call)
        files = files_of(manifest)
        if layout != "mnist":
            with in_a_sentence(self.route), arriving_archive(Path(folder), layout, manifest) as whole:
                self._receive(at("datasets", name, "archive"), whole, layout=layout)
                run_blocking(whole.unpack)
            for path in whole.files:
                yield path
            return
        for file, record in files.items():
            path = Path(folder) / file
            if not run_blocking(partial(is_whole, path, record)):
                with in_a_sentence(self.route), arriving(path, record) as arrival:
                    self._receive(at("datasets", name, file), arrival)
            yield path
