"""`acgan delete`: deletes a job, a checkpoint, or the files of a data set."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.completion import what_can_be_deleted
from app.cli.display.output import print_json, print_sentence
from app.cli.errors import fail
from app.cli.options import AsJson, Key, Url
from app.cli.references import BOTH, DATASETS, find_job
from app.cli.service import service


class Kind(StrEnum):
    JOB = "job"
    CHECKPOINT = "checkpoint"
    DATASET = "dataset"


WHAT = {
    Kind.JOB: "job {id} with all its checkpoints and files",
    Kind.CHECKPOINT: "checkpoint {id}",
    Kind.DATASET: "the files of data set {id}; `acgan retry {id}` generates them again",
}


def delete(
    kind: Annotated[Kind, typer.Argument(help="What to delete.")],
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Id of a checkpoint; id, beginning of an id, or name of a job; `latest`.",
            autocompletion=what_can_be_deleted,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Delete an ended job, a checkpoint, or the files of a data set. What is in use is kept."""
    with service(url, key) as client:
        if kind is not Kind.CHECKPOINT:
            name = find_job(client, name, DATASETS if kind is Kind.DATASET else BOTH)
        what = WHAT[kind].format(id=name)
        if not yes:
            confirm(f"delete {what}?")
        call = {
            Kind.JOB: client.delete_job,
            Kind.CHECKPOINT: client.delete_checkpoint,
            Kind.DATASET: client.delete_dataset,
        }[kind]
        call(name)
    if as_json:
        print_json({"deleted": name, "kind": kind.value})
    else:
        print_sentence(f"deleted {what.partition(';')[0]}")


def confirm(question: str) -> None:
    """Ask on the terminal. Raises typer.Exit if the answer is no, or if there is no terminal to ask on."""
    if sys.stdin is None or not sys.stdin.isatty():
        fail("there is no terminal to ask for confirmation: pass --yes to delete without it")
    if not typer.confirm(question[:1].upper() + question[1:], err=True):
        fail("nothing was deleted")
