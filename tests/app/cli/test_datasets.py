"""Generated data sets through the clients and the commands, from the order to the downloaded files."""

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import numpy as np
import pytest

from acgan_client import AsyncClient, Client, Refused
from app.settings import AppSettings
from models.data.idx import read_idx
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import acgan
from tests.support.hostile_server import JOB_ID, as_json, dataset, hostile, http, problem
from tests.support.serving import serving
from worker.runner import run_next_job

FOUR = {f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")}


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(settings) as address:
        monkeypatch.setenv("ACGAN_URL", address)
        yield address


def test_a_client_orders_and_downloads_files_that_any_loader_reads(
    address: str, settings: AppSettings, tmp_path: Path
) -> None:
    with Client(address) as client:
        ordered = client.order(per_class=12, test_per_class=3, seed=4, idempotency_key="mine")
        assert client.order(per_class=12, test_per_class=3, seed=4, idempotency_key="mine").id == ordered.id
        with pytest.raises(Refused, match=ordered.id):
            list(client.download(ordered.id, tmp_path / "early"))
        run_next_job(settings)
        assert [each.id for each in client.datasets().datasets] == [ordered.id]
        paths = list(client.download(ordered.id, tmp_path / "mine"))
        assert {path.name for path in paths} == FOUR == {path.name for path in (tmp_path / "mine").iterdir()}
        images = read_idx(gzip.decompress((tmp_path / "mine" / "train-images-idx3-ubyte.gz").read_bytes()))
        drawn = client.pixels(7, n=12, seed=4, checkpoint=ordered.order.checkpoint)
        assert np.array_equal(images[7::10], drawn)


def test_existing_files_are_kept_and_damaged_ones_are_downloaded_again(
    address: str, settings: AppSettings, tmp_path: Path
) -> None:
    async def fetch(dataset: str) -> list[Path]:
        async with AsyncClient(address) as client:
            return [path async for path in client.download(dataset, tmp_path)]

    with Client(address) as client:
        dataset = client.order(per_class=2, test_per_class=1).id
    run_next_job(settings)
    whole, damaged = sorted(anyio.run(fetch, dataset))[:2]
    first, content = whole.stat().st_mtime_ns, damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"?")
    anyio.run(fetch, dataset)
    assert whole.stat().st_mtime_ns == first
    assert damaged.read_bytes() == content


def test_the_client_returns_numbers_morphs_and_evolutions(address: str) -> None:
    with Client(address) as client:
        number = client.numbers("0314", seed=4)
        assert (number.seed, number.media_type) == (4, "image/png")
        assert client.morph(3, 8, seed=4, format="webp").media_type == "image/webp"
        with pytest.raises(Refused, match="does not exist"):
            client.evolution("20260131-120000-1a2b3c", 7)


def test_a_command_waits_for_its_order_and_downloads_it(address: str, settings: AppSettings, tmp_path: Path) -> None:
    assert "generate one with `acgan order`" in acgan("datasets").stdout
    command = [sys.executable, "-m", "app.cli", "order", "--per-class", "2", "--test-per-class", "1"]
    with subprocess.Popen([*command, "-o", str(tmp_path / "mine")], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert "is queued: 3 images of each class" in waiting.stdout.readline()
        run_next_job(settings)
        result = waiting.stdout.read().splitlines()
        assert waiting.wait(60) == 0
    assert {Path(line).name for line in result} == FOUR == {path.name for path in (tmp_path / "mine").iterdir()}
    listed = acgan("datasets")
    assert ("30/30" in listed.stdout, "succeeded" in listed.stdout) == (True, True)
    (listing,) = json.loads(acgan("datasets", "--json").stdout)["datasets"]
    again = acgan("download", listing["id"], "--json", "--layout", "keras", "-o", str(tmp_path / "again"))
    assert json.loads(again.stdout)["id"] == listing["id"]
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["mnist.npz"]


def test_a_command_that_is_interrupted_while_it_waits_leaves_the_order_alone(address: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "order", "--per-class", "2", "-o", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert "is queued: 1,002 images of each class" in waiting.stdout.readline()
        with Client(address) as client:
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(30) == 130
            (dataset,) = client.datasets().datasets
            assert dataset.status == "queued"
            assert client.cancel(dataset.id).status == "cancelled"
        assert waiting.stderr is not None
        assert f"acgan download {dataset.id}" in waiting.stderr.read()
    cancelled = acgan("download", dataset.id)
    assert (cancelled.returncode, f"acgan resume {dataset.id}" in cancelled.stderr) == (3, True)


def test_mistakes_in_an_order_are_reported_in_a_sentence(address: str) -> None:
    refused = acgan("order", "--per-class", "0")
    assert (refused.returncode, "--per-class should be" in refused.stderr) == (2, True)
    unknown = acgan("download", "20260131-120000-1a2b3c")
    assert (unknown.returncode, "There is no data set" in unknown.stderr) == (2, True)


def test_other_jobs_than_runs_are_listed_by_their_kind(address: str) -> None:
    with Client(address) as client:
        run, ordered = client.train(name="mine"), client.order(per_class=2, test_per_class=1, checkpoint="latest")
    listed = acgan("jobs", "--kind", "dataset")
    assert (listed.returncode, ordered.id in listed.stdout, run.id in listed.stdout) == (0, True, False)
    assert "data set of 3 images of each class" in listed.stdout
    assert "no matching jobs" in acgan("jobs", "--kind", "evaluation").stdout
    assert json.loads(acgan("jobs", "--kind", "dataset", "--json").stdout)["jobs"][0]["id"] == ordered.id
    with Client(address) as client:
        client.order(per_class=3, test_per_class=1)
    more = acgan("jobs", "--kind", "dataset", "--limit", "1").stdout
    assert "there are more: acgan jobs --kind dataset --before " in more


def test_a_data_set_is_followed_as_what_it_is(address: str, settings: AppSettings) -> None:
    with Client(address) as client:
        ordered = client.order(per_class=2, test_per_class=1)
    command = [sys.executable, "-m", "app.cli", "follow", ordered.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        said = following.stdout.readline()
        assert f"job {ordered.id} is queued: data set of 3 images of each class by {ordered.order.checkpoint}" in said
        run_next_job(settings)
        last = following.stdout.read().splitlines()[-1]
        assert following.wait(60) == 0
    assert last == f"job {ordered.id} succeeded: acgan download {ordered.id} downloads the data set"


def test_a_command_waits_for_its_data_set_through_a_restart(settings: AppSettings, tmp_path: Path) -> None:
    """The proxy answers 502 as long as the service restarts."""
    running, done = dataset(status="running", ended_at=None), dataset(status="failed", error="the disk is full")
    answers = iter([as_json(running), http(b"gone", "502 Bad Gateway"), problem(503, "no Redis"), as_json(done)])
    with hostile({f"/datasets/{JOB_ID}": lambda: next(answers)}) as server:
        result = acgan("download", JOB_ID, "-o", str(tmp_path), "--url", server.url)
    assert (result.returncode, "the disk is full" in result.stderr) == (1, True)


def test_the_criterion_of_the_best_checkpoint_stays_if_only_the_data_changes(address: str) -> None:
    with Client(address) as client:
        client.serve("best", by="evaluation")
        acgan("serving", "--dataset", "mnist")
        assert (client.serving().policy, client.serving().by) == ("best", "evaluation")
        acgan("serving", "best")
        assert client.serving().by == "epoch"
