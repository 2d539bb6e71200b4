"""`acgan start`: starts a run on the service."""

from typing import Annotated

import typer

from app.cli import options
from app.cli.commands.follow import follow_to_the_end
from app.cli.display.output import print_record
from app.cli.options import AsJson, Key, RunsOnOption, Url, WebhookOption
from app.cli.service import service


def start(
    recipe: options.Recipe = None,
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
    webhook: WebhookOption = None,
    watch: Annotated[bool, typer.Option("--follow", help="Follow the run until it ends.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Start a run on the service. Without options it uses the original recipe."""
    fields = options.given(locals())
    if priority:
        fields["priority"] = priority
    if runs_on != "any":
        fields["runs_on"] = runs_on
    if webhook is not None:
        fields["webhook"] = webhook
    with service(url, key) as client:
        job = client.train(**fields)
        if watch:
            follow_to_the_end(client, job.id, as_json)
        print_record(job, as_json, f"job {job.id} is accepted: follow it with `acgan follow {job.id}`")
