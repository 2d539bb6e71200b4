# Written by client/make_sync.py: change the file of the same name in _async instead.
"""The calls about evaluations of checkpoints."""

from collections.abc import Iterator
from typing import Unpack

from acgan_client._sync.transport import Transport
from acgan_client.calls import CheckpointRef, EvaluationFields, Options, at, get, get_record, id_of, submit
from acgan_client.pages import Pages
from acgan_client.pictures import Picture
from acgan_client.records import JobStatus, UnreadableJob
from acgan_client.records.evaluations import Evaluation, EvaluationList, EvaluationResult
from acgan_client.responses import LIST_LIMIT


class Evaluations(Transport):
    """The part of the client that measures the quality of checkpoints."""

    def evaluate(self, *, idempotency_key: str | None = None, **fields: Unpack[EvaluationFields]) -> Evaluation:
        """Evaluate a checkpoint. `wait` returns the evaluation with its figures, as `result`."""
        return self._send(submit("/evaluations", Evaluation, fields, idempotency_key))

    def evaluation(self, evaluation: str | Evaluation, **options: Unpack[Options]) -> Evaluation:
        return self._send(get_record(at("evaluations", id_of(evaluation)), Evaluation, options))

    def evaluations(
        self,
        limit: int = 20,
        before: str | None = None,
        status: JobStatus | str | None = None,
        checkpoint: CheckpointRef | None = None,
        at: str | None = None,
        **options: Unpack[Options],
    ) -> EvaluationList:
        """Return a page of evaluations, newest first, or of those of one checkpoint.

        `at` is the position of `before`, as `next` of a page has it: then that evaluation may be deleted.
        """
        of = checkpoint and id_of(checkpoint)
        query = {"limit": limit, "status": status, "before": before, "checkpoint": of, "at": at, **options}
        return self._send(get_record("/evaluations", EvaluationList, query, LIST_LIMIT))

    def iter_evaluations(
        self,
        status: JobStatus | str | None = None,
        page_size: int = 100,
        checkpoint: CheckpointRef | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Evaluation | UnreadableJob]:
        """Yield all evaluations, newest first, or those of one checkpoint."""
        pages = Pages[Evaluation | UnreadableJob]()
        while not pages.ended:
            page = self.evaluations(page_size, pages.before, status, checkpoint, pages.at, **options)
            for evaluation in pages.take(page.evaluations, page.next):
                yield evaluation

    def evaluation_result(self, evaluation: str | Evaluation, **options: Unpack[Options]) -> EvaluationResult:
        """Return the figures of a complete evaluation."""
        path = at("evaluations", id_of(evaluation), "result.json")
        return self._send(get_record(path, EvaluationResult, options))

    def evaluation_picture(self, evaluation: str | Evaluation, **options: Unpack[Options]) -> Picture:
        """Return the charts of a complete evaluation, a PNG."""
        return self._send(get(at("evaluations", id_of(evaluation), "picture.png"), Picture.of, options))
