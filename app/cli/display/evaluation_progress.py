"""What an evaluation on a service does now, beside a spinner: its place in the queue, or its step and the time left."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from app.cli.display.tables import span

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Evaluation, Job

POLL_SECONDS = 1.0


@contextmanager
def showing_progress(client: "Client", ordered: "Evaluation", console: Console) -> Iterator[None]:
    """Show the progress until the block ends. A thread asks for it: the block waits for the end as without it."""
    title = f"evaluation {ordered.id} of {ordered.checkpoint}"
    over = threading.Event()
    with console.status(escape(title)) as status:

        def keep() -> None:
            from acgan_client import ClientError

            while not over.wait(POLL_SECONDS):
                with suppress(ClientError, RuntimeError):  # the block reports them; or the client was closed meanwhile
                    status.update(escape(f"{title}: {describe_progress(client.job(ordered.id))}"))

        if console.is_terminal:
            threading.Thread(target=keep, daemon=True).start()
        try:
            yield
        finally:
            over.set()


def describe_progress(job: "Job") -> str:
    """Return what a job that has not ended waits for, or its step and the time left."""
    if (place := job.queue) is not None:
        starts = "" if place.starts_in_seconds is None else f", starts in about {span(place.starts_in_seconds)}"
        return f"queued, place {place.position}{starts}"
    if (progress := job.progress) is None or job.status.value == "queued":
        return job.status.value
    step = min(progress.batch + 1, progress.batches)
    left = f", about {span(progress.eta_seconds)} left" if progress.batch else ""
    return f"step {step} of {progress.batches}{left}"
