"""`acgan cancel`, `resume`, `retry`, `front` and `label`: each changes one job."""

from typing import Annotated

import typer

from app.cli.display.output import print_record
from app.cli.options import AsJson, JobArgument, Key, Url
from app.cli.references import find_job
from app.cli.service import service


def cancel(job: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Stop a run. Its published checkpoints stay, and it can be resumed."""
    with service(url, key) as client:
        changed = client.cancel(find_job(client, job))
    print_record(
        changed, as_json, f"job {changed.id} is {changed.status.value}: resume it with `acgan resume {changed.id}`"
    )


def resume(job: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Resume a run that failed or was cancelled, from its last saved state."""
    with service(url, key) as client:
        changed = client.resume(find_job(client, job))
    print_record(
        changed, as_json, f"job {changed.id} is {changed.status.value}: follow it with `acgan follow {changed.id}`"
    )


def retry(job: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Start a new job with the recipe of an earlier one."""
    with service(url, key) as client:
        changed = client.retry(find_job(client, job))
    print_record(changed, as_json, f"job {changed.id} is accepted: follow it with `acgan follow {changed.id}`")


def front(job: JobArgument, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Move a waiting run to the front of the queue."""
    with service(url, key) as client:
        changed = client.move_to_front(find_job(client, job))
    print_record(changed, as_json, f"job {changed.id} is at the front of the queue")


def label(
    job: JobArgument,
    name: Annotated[str | None, typer.Option(help="Its name; '' removes it.")] = None,
    notes: Annotated[str | None, typer.Option(help="Its notes, at most 2,000 characters.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag; may be repeated. Replaces all tags; '' for none.")
    ] = None,
    archived: Annotated[bool | None, typer.Option(help="Whether it is archived.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Change the name, notes or tags of a run, or archive it. Its configuration stays as it is."""
    given = {"name": name, "notes": notes, "tags": tag, "archived": archived}
    labels = {field: value for field, value in given.items() if value is not None}
    if not labels:
        raise typer.BadParameter("nothing to change: name at least one of --name, --notes, --tag and --archived")
    with service(url, key) as client:
        changed = client.update_job(find_job(client, job), **labels)  # type: ignore[arg-type]
    print_record(changed, as_json, f"job {changed.id} is labelled")
