"""`acgan follow`: shows a run until it ends."""

from typing import TYPE_CHECKING

import typer

from app.cli.display.job_descriptions import count_epochs, describe_job
from app.cli.display.output import console, print_json, print_sentence
from app.cli.errors import interruptible, print_note
from app.cli.options import AsJson, JobArgument, Key, Url
from app.cli.references import find_job
from app.cli.service import exit_unless_succeeded, service

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Change, Client, Job


def follow(job: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Follow a run until it ends: progress, and the table and figures of each epoch.

    Reconnects if the service restarts. Exit code 0 if the run succeeded, 1 if it failed, 3 if it was cancelled. Ctrl-C
    stops following; the run continues.
    """
    with service(url, key) as client:
        follow_to_the_end(client, find_job(client, job), as_json)


def follow_to_the_end(client: "Client", job_id: str, as_json: bool) -> None:
    """Raises typer.Exit with the exit code for the result of the run, and the errors of `follow`."""
    with interruptible(
        f"the run continues: `acgan follow {job_id}` follows it again, `acgan cancel {job_id}` cancels it"
    ):
        job = print_changes(client, job_id) if as_json else show_changes(client, job_id)
    exit_unless_succeeded("job", job)
    if not as_json and job.result:
        print_sentence(f"job {job_id} succeeded: training data {job.result.dataset}")
    elif not as_json and job.evaluation:
        print_sentence(f"job {job_id} succeeded: checkpoint {job.evaluation.checkpoint} is evaluated")
    elif not as_json and job.order:
        print_sentence(f"job {job_id} succeeded: acgan download {job_id} downloads the data set")
    elif not as_json:
        options = f"{job.config.dataset} -n 8 -o images.png --checkpoint {job.checkpoint}"
        draw = f"`acgan images {options}` draws with its last generator"
        hint = draw if job.checkpoint else "none is served"
        print_sentence(f"job {job_id} succeeded: {count_epochs(len(job.epochs))}; {hint}")
    raise typer.Exit


def print_changes(client: "Client", job_id: str) -> "Job":
    """Print one JSON object per change, on one line each. Returns the final record."""
    for change in client.follow(job_id):
        print_json({"event": change.kind, "data": event_data(change)})
    return change.job


def event_data(change: "Change") -> object:
    match change.kind:
        case "job":
            return change.job.model_dump(mode="json")
        case "epoch":
            return change.epoch.model_dump(mode="json") if change.epoch else None
        case "progress":
            return change.job.progress.model_dump(mode="json") if change.job.progress else None
        case "status":
            return change.job.status.value
    return change.job.trouble


def show_changes(client: "Client", job_id: str) -> "Job":
    from app.cli.display.progress import print_epoch, progress_bar, show

    reported_status = ""
    with progress_bar(console) as bar:
        task = bar.add_task("run", total=None, epoch="-", rate=0.0)
        for change in client.follow(job_id):
            job = change.job
            if job.status.value != reported_status and not job.ended:
                reported_status = job.status.value
                on = f", on {job.device}" if job.device else ""
                print_sentence(f"job {job_id} is {reported_status}: {describe_job(job)}{on}")
            if change.kind in ("job", "trouble") and job.trouble:
                print_note(job.trouble)
            if change.epoch:
                print_epoch(change.epoch, job.config.epochs, console)
            if job.progress:
                show(bar, task, job.progress)
    return job
