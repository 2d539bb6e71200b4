"""Requests to a running service: start, follow and control runs, list checkpoints, choose the served one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import options
from app.cli.common import (
    FAILED,
    MISTAKE,
    AsJson,
    Commands,
    RunsOnOption,
    complain,
    console,
    read_settings,
    tell,
    tell_json,
    tell_record,
    tell_table,
    writing,
)
from app.cli.output import escape_json, in_lines, write_line

if TYPE_CHECKING:  # takes a while to load
    from app.client import Change, Client, Refused
    from app.schemas.datasets import DatasetView
    from app.schemas.jobs import JobView

CANCELLED, UNAVAILABLE, INTERRUPTED = 3, 4, 130  # exit codes: docs/commands.md

Url = Annotated[str | None, typer.Option(help="Address of the service [ACGAN_URL, or http://127.0.0.1:8000].")]
Key = Annotated[str | None, typer.Option(help="API key, if the service requires one [ACGAN_KEY].")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job; `acgan jobs` lists them.")]


@contextmanager
def service(url: str | None, key: str | None) -> Iterator["Client"]:
    """Yield a client. Its errors end the command with one sentence and exit code 2, or 4 if a later try may succeed."""
    settings = read_settings(url=url, key=key)

    from app.client import Client, ClientError, Refused, Unavailable, Unreachable

    secret = settings.key.get_secret_value() if settings.key else None
    try:
        with Client(settings.url, secret) as client:
            yield client
    except (Unreachable, Unavailable) as error:
        again = f" (retry in {error.retry_after:.0f} s)" if isinstance(error, Unavailable) else ""
        complain(f"{error}{again}")
        raise typer.Exit(UNAVAILABLE) from None
    except ClientError as error:
        complain(in_options(error) if isinstance(error, Refused) else str(error))
        raise typer.Exit(MISTAKE) from None


def in_options(error: "Refused") -> str:
    """Return the service's message with options in place of fields, and commands in place of paths."""
    if error.status == 401:
        return f"{error} Pass it as --key KEY or in ACGAN_KEY."
    said = str(error)
    for mistake in error.mistakes:
        where, _, field = mistake["field"].rpartition(".")
        if where in ("body", "query"):
            said = said.replace(f"{where}.{field}: ", f"--{field.replace('_', '-')} ")
    said = said.removeprefix("body: ")
    for address, command in (("/jobs", "jobs"), ("/checkpoints", "checkpoints")):
        said = said.replace(f"see GET {address}", f"see `acgan {command}`")
        said = said.replace(f"GET {address} lists", f"`acgan {command}` lists")
    return said


# ----------------------------------------------------------------------------
# Runs.


def start(
    recipe_name: Annotated[
        str | None, typer.Option("--recipe", help="`seed` (the original recipe) or `sharp`.")
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    latent_size: options.LatentSize = None,
    adam_lr: options.AdamLr = None,
    adam_beta_1: options.AdamBeta1 = None,
    seed: options.Seed = None,
    dataset: options.DatasetOption = None,
    train_examples: options.TrainExamples = None,
    test_examples: options.TestExamples = None,
    precision: options.PrecisionOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    priority: Annotated[int, typer.Option(help="0 to 9. Jobs with a higher priority start first.")] = 0,
    runs_on: RunsOnOption = "any",
    watch: Annotated[bool, typer.Option("--follow", help="Follow the run until it ends.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Start a run on the service. Without options it uses the original recipe."""
    fields = options.given(locals() | {"recipe": recipe_name})
    if priority:
        fields["priority"] = priority
    if runs_on != "any":
        fields["runs_on"] = runs_on
    with service(url, key) as client:
        job = client.train(**fields)
        if watch:
            follow_to_the_end(client, job.id, as_json)
        tell_record(job, as_json, f"job {job.id} is accepted: follow it with `acgan follow {job.id}`")


def jobs(
    limit: Annotated[int, typer.Option(help="Maximum number to list, 1 to 100.")] = 20,
    status: Annotated[str | None, typer.Option(help="List only runs with this status, for example `failed`.")] = None,
    before: Annotated[str | None, typer.Option(help="List only runs accepted before this job.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the runs of the service, newest first."""
    with service(url, key) as client:
        found = client.jobs(limit, status, before)
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return
    if not found.jobs:
        tell("no matching runs" if status or before else "no runs: start one with `acgan start`")
        return

    from app.cli.tables import jobs_table

    tell_table(jobs_table(found.jobs))
    if found.next:
        asked = f" --status {status}" if status else ""
        tell(f"there are more: acgan jobs{asked} --before {found.jobs[-1].id}")


def follow(job_id: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Follow a run until it ends: progress, and the table and figures of each epoch.

    Reconnects if the service restarts. Exit code 0 if the run succeeded, 1 if it failed, 3 if it was cancelled. Ctrl-C
    stops following; the run continues.
    """
    with service(url, key) as client:
        follow_to_the_end(client, job_id, as_json)


def cancel(job_id: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Stop a run. Its published checkpoints stay, and it can be resumed."""
    with service(url, key) as client:
        job = client.cancel(job_id)
    tell_record(job, as_json, f"job {job.id} is {job.status.value}: resume it with `acgan resume {job.id}`")


def resume(job_id: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Resume a run that failed or was cancelled, from its last saved state."""
    with service(url, key) as client:
        job = client.resume(job_id)
    tell_record(job, as_json, f"job {job.id} is {job.status.value}: follow it with `acgan follow {job.id}`")


def retry(job_id: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Run a job's recipe again from the start, as a new job."""
    with service(url, key) as client:
        job = client.retry(job_id)
    tell_record(job, as_json, f"job {job.id} is accepted: follow it with `acgan follow {job.id}`")


def front(job_id: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Move a waiting run to the front of the queue."""
    with service(url, key) as client:
        job = client.move_to_front(job_id)
    tell_record(job, as_json, f"job {job.id} is at the front of the queue")


def history(
    job_id: JobArgument,
    csv: Annotated[
        bool, typer.Option("--csv", help="CSV, one line per epoch; the default for a file named .csv. Otherwise JSON.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write. If omitted, print it.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a run's recipe and the losses and figures of every epoch, as JSON or CSV."""
    csv = (csv or (out is not None and out.suffix.lower() == ".csv")) and not as_json
    with service(url, key) as client:
        text = client.history_csv(job_id) if csv else client.history(job_id).model_dump_json(indent=2)
    if out is None:
        lines = text.replace("\r\n", "\n").rstrip("\n")
        write_line(in_lines(lines) if csv else escape_json(lines))
        return
    with writing(out):
        out.write_text(text, encoding="utf-8", newline="")
    if not as_json:
        tell(f"the history of {job_id} is written to {out} as {'CSV' if csv else 'JSON'}")


# ----------------------------------------------------------------------------
# Follow a run.


def follow_to_the_end(client: "Client", job_id: str, as_json: bool) -> None:
    """Raises typer.Exit with the exit code for the result of the run, and the errors of `follow`."""
    try:
        job = print_changes(client, job_id) if as_json else show_changes(client, job_id)
    except KeyboardInterrupt:
        complain(f"stopped following; the run continues: `acgan follow {job_id}` follows it again")
        raise typer.Exit(INTERRUPTED) from None
    exit_unless_succeeded("job", job)
    if not as_json:
        good = [epoch.checkpoint for epoch in job.epochs if epoch.refused is None]
        drawn = f"draw with its last generator: acgan digits 7 --checkpoint {good[-1]}" if good else "none is served"
        tell(f"job {job_id} succeeded: {epochs_in_words(len(job.epochs))}; {drawn}")
    raise typer.Exit


def exit_unless_succeeded(what: str, ended: "JobView | DatasetView") -> None:
    """Raises typer.Exit with the exit code for the result if a run or data set failed or was cancelled."""
    from worker.jobs.model import JobStatus

    match ended.status:
        case JobStatus.FAILED:
            complain(f"{what} {ended.id} failed: {ended.error}")
            raise typer.Exit(FAILED)
        case JobStatus.CANCELLED:
            complain(f"{what} {ended.id} was cancelled: resume it with `acgan resume {ended.id}`")
            raise typer.Exit(CANCELLED)


def epochs_in_words(count: int) -> str:
    return f"{count} epoch" if count == 1 else f"{count} epochs"


def print_changes(client: "Client", job_id: str) -> "JobView":
    """Print one JSON object per change, on one line each. Returns the final record."""
    for change in client.follow(job_id):
        tell_json({"event": change.kind, "data": facts(change)})
    return change.job


def facts(change: "Change") -> object:
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


def show_changes(client: "Client", job_id: str) -> "JobView":
    from app.cli.progress import progress_bar, show, tell_epoch
    from worker.jobs.model import ENDED

    reported_status = ""
    with progress_bar(console) as bar:
        task = bar.add_task("run", total=None, epoch="-", rate=0.0)
        for change in client.follow(job_id):
            job = change.job
            if job.status.value != reported_status and job.status not in ENDED:
                reported_status = job.status.value
                what = f"{epochs_in_words(job.config.epochs)} of {job.config.dataset}, recipe {job.config.recipe}"
                tell(f"job {job_id} is {reported_status}: {what}" + (f", on {job.device}" if job.device else ""))
            if change.kind in ("job", "trouble") and job.trouble:
                complain(job.trouble)
            if change.epoch:
                tell_epoch(change.epoch, job.config.epochs, console)
            if job.progress:
                show(bar, task, job.progress)
    return job


# ----------------------------------------------------------------------------
# Checkpoints, and the served one.


def checkpoints(as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """List the checkpoints of the service, newest first, and which one is served."""
    with service(url, key) as client:
        found = client.checkpoints()
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return

    from app.cli.tables import checkpoints_table

    tell_table(checkpoints_table(found))


def serving(
    choice: Annotated[
        str | None,
        typer.Argument(
            metavar="newest|best|CHECKPOINT",
            help="`newest`, `best`, or the id of a checkpoint to pin. If omitted, print the choice.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print or choose the served checkpoint. To roll back, name the previous one."""
    with service(url, key) as client:
        match choice:
            case None:
                found = client.serving()
            case "newest" | "best":
                found = client.serve(choice)
            case _:
                found = client.serve("pinned", choice)
    tell_record(found, as_json, f"{found.policy}: {found.serving or 'nothing'} is served")


COMMANDS: Commands = {
    "start": start,
    "jobs": jobs,
    "follow": follow,
    "cancel": cancel,
    "resume": resume,
    "retry": retry,
    "front": front,
    "history": history,
    "checkpoints": checkpoints,
    "serving": serving,
}
