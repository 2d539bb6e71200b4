"""What `acgan evaluate --service` shows while it waits."""

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from acgan_client import Client
from app.cli.display.columns import Column, Table, print_table
from app.cli.display.evaluation_progress import describe_progress, showing_progress
from app.cli.display.output import SafeConsole
from app.settings import AppSettings
from models.records import Progress
from models.registry.store import CheckpointStore
from tests.support.serving import serving, until
from worker.jobs.consumer import JobConsumer

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def client(settings: AppSettings, store: CheckpointStore) -> Iterator[Client]:
    with serving(settings) as address, Client(address) as client:
        yield client


def test_the_place_in_the_queue_and_each_step_are_shown(client: Client, settings: AppSettings) -> None:
    first, ordered = (client.evaluate(effort=effort) for effort in ("quick", "full"))
    output = io.StringIO()
    with showing_progress(client, ordered, Console(file=output, force_terminal=True, width=160)):
        until("its place is shown", lambda: f"{ordered.checkpoint}: queued, place 2" in output.getvalue())
        consumer = JobConsumer.connect(settings.redis_url)
        claims = [consumer.claim(), consumer.claim()]
        assert [claim and claim.job.id for claim in claims] == [first.id, ordered.id]
        claim = claims[1]
        assert claim is not None
        until("it runs", lambda: f"{ordered.checkpoint}: running" in output.getvalue())
        done = Progress(epoch=1, epochs=1, batch=3, batches=8, images_per_second=0, eta_seconds=83)
        consumer.report(claim, done)
        until("its step is shown", lambda: re.search(r": step 4 of 8, about \S+.* left", output.getvalue()) is not None)
        consumer.close()
    assert describe_progress(client.job(ordered.id)).startswith("step 4 of 8")


def test_a_sentence_about_a_column_is_printed_only_with_the_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    for width, shown in ((80, True), (20, False)):
        table = Table(Column("figure"), Column("real", right=True, drop=1, note="Of real digits."))
        table.add("label accuracy", "99.00%")
        table.caption = "In total."
        print_table(table, SafeConsole(width=width))
        assert ("Of real digits." in capsys.readouterr().out) == shown
