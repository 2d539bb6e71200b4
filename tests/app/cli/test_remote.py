"""The commands that call a running service, as real processes over the real service."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from acgan_client import Client
from acgan_client.problems import PROBLEMS, TrainingDataNotFound
from app.security.api_keys import make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.api.test_event_stream import NOBODY, claim, progress
from tests.app.cli.test_cli import acgan
from tests.app.conftest import fresh_weights, publish_own
from tests.client.test_client import work
from tests.models.registry.test_store import NEW, OLD
from tests.support.ports import free_port
from tests.support.serving import serving
from tests.support.training_sets import bring
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(settings) as address:
        monkeypatch.setenv("ACGAN_URL", address)
        yield address


def run_json(*words: str) -> Any:
    """The JSON that a command prints."""
    answer = acgan(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_run_is_started_listed_controlled_and_its_history_saved(
    address: str, consumer: JobConsumer, tmp_path: Path
) -> None:
    assert "start one with `acgan start`" in acgan("jobs").stdout
    job = run_json(
        "start", "--epochs", "2", "--recipe", "sharp", "--dataset", "printed", "--name", "[mine]", "--priority", "3"
    )
    assert (job["config"]["epochs"], job["config"]["recipe"], job["priority"]) == (2, "sharp", 3)
    job_id = job["id"]
    assert run_json("cancel", job_id)["status"] == "cancelled"
    assert run_json("resume", job_id)["status"] == "queued"
    again = run_json("retry", job_id)
    assert again["retry_of"] == job_id
    assert f"job {again['id']} is at the front of the queue" in acgan("front", again["id"]).stdout
    run_json("start", "--name", long := 20 * "long ")
    listed = acgan("jobs")
    assert listed.returncode == 0
    assert long.strip() in listed.stdout  # on one line, for grep
    assert (job_id in listed.stdout, again["id"] in listed.stdout, "[mine]" in listed.stdout) == (True, True, True)
    assert [each["id"] for each in run_json("jobs", "--limit", "2")["jobs"]][1] == again["id"]
    assert f"acgan jobs --before {again['id']}" in acgan("jobs", "--limit", "2").stdout
    queued = acgan("jobs", "--limit", "2", "--status", "queued").stdout
    assert f"acgan jobs --status queued --before {again['id']}" in queued
    assert "no matching runs" in acgan("jobs", "--status", "failed").stdout

    work(consumer, 2)  # the next one is the one that was moved to the front
    assert [epoch["epoch"] for epoch in run_json("history", again["id"])["epochs"]] == [1, 2]
    assert "as CSV" in acgan("history", again["id"], "-o", str(tmp_path / "history.csv")).stdout  # by its name
    assert acgan("history", again["id"], "--csv").stdout == (tmp_path / "history.csv").read_text()
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert (
        float(rows[0]["discriminator_test_auxiliary_loss"]) == epoch_record(1).losses.discriminator.test.auxiliary_loss
    )


def test_checkpoints_are_listed_and_the_served_one_is_chosen(address: str) -> None:
    listed = acgan("checkpoints")
    assert f"{NEW}-e001" in listed.stdout
    assert [each["id"] for each in run_json("checkpoints")["checkpoints"]] == [f"{NEW}-e001", f"{OLD}-e001"]
    assert run_json("serving", f"{OLD}-e001")["policy"] == "pinned"
    assert run_json("serving", "best")["policy"] == "best"
    assert "newest: " in acgan("serving", "newest").stdout
    assert run_json("serving")["policy"] == "newest"


@pytest.mark.usefixtures("address")
def test_a_generator_is_imported(tmp_path: Path) -> None:
    file = tmp_path / "generator.safetensors"
    file.write_bytes(fresh_weights(7))
    made = run_json("import", str(file), "--name", "mine")
    assert made["config"]["name"] == "mine"
    again = acgan("import", str(file))
    assert again.stdout.strip() == f"checkpoint {made['id']}, which existed with the same weights"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    refused = acgan("import", str(file))
    assert (refused.returncode, "convert it with `acgan import-keras`" in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("end", "error", "code", "message"),
    [
        (JobStatus.SUCCEEDED, "", 0, "1 epoch; `acgan images mnist -n 8 -o images.png --checkpoint x-e001` draws"),
        (JobStatus.FAILED, "no luck", 1, "failed: no luck"),
        (JobStatus.CANCELLED, "", 3, "was cancelled"),
    ],
)
def test_the_exit_code_shows_how_a_followed_run_ended(
    address: str, consumer: JobConsumer, end: JobStatus, error: str, code: int, message: str
) -> None:
    job_id = run_json("start", "--epochs", "2")["id"]
    held = claim(consumer)
    with following(job_id) as process:
        assert process.stdout is not None
        assert "is running" in process.stdout.readline()
        consumer.report(held, progress(3))
        consumer.add_epoch(held, epoch_record(1))
        assert "Epoch 1/2 (1.5 s)" in process.stdout.readline()
        if end == JobStatus.CANCELLED:
            assert run_json("cancel", job_id)["status"] == "cancelling"
        consumer.finish(held, end, error)
        shown, complaint = rest(process)
    assert process.returncode == code, complaint
    assert shown.count("component              | loss") == 1
    assert message in shown + complaint
    assert "Traceback" not in complaint

    facts = acgan("follow", job_id, "--json")
    assert facts.returncode == code
    events = [json.loads(line) for line in facts.stdout.splitlines()]
    assert [event["event"] for event in events] == ["job", "epoch", "job"]
    assert events[-1]["data"]["status"] == end
    assert events[1]["data"]["losses"]["generator"]["train"]["loss"] == epoch_record(1).losses.generator.train.loss


def rest(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """The rest of its output, until it exits: `communicate` would lose what `readline` has buffered."""
    assert process.stdout is not None
    assert process.stderr is not None
    shown, complaint = process.stdout.read(), process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    process.wait(30)
    return shown, complaint


def following(job_id: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-u", "-m", "app.cli", "follow", job_id]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_following_survives_a_restart_and_ends_with_ctrl_c(settings: AppSettings, consumer: JobConsumer) -> None:
    port = free_port()
    with serving(settings, port) as address:
        job_id = run_json("start", "--url", address)["id"]
        held = claim(consumer)
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "app.cli", "follow", job_id, "--url", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert "is running" in process.stdout.readline()
    consumer.add_epoch(held, epoch_record(1))
    with serving(settings, port):
        assert "Epoch 1/100" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, complaint = rest(process)
        assert process.returncode == 130
        assert f"`acgan follow {job_id}` follows it again" in complaint
        assert "Traceback" not in complaint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["start", "--epochs", "0"], "error: --epochs should be at least 1"),
        (["start", "--train-examples", "50"], "error: train_examples is 50, less than one batch"),
        (["start", "--recipe", "blunt"], "'seed', 'sharp' or 'thorough'"),
        (["start", "--webhook", "https://hooks.example.com/"], "error: This service sends no webhooks"),
        (["order", "--webhook", "http://hooks.example.com/"], "--webhook should be an address such as https://"),
        (["follow", NOBODY], "see `acgan jobs`"),
        (["cancel", "nonsense"], "see `acgan jobs`"),
        (["jobs", "--status", "tired"], "--status should be"),
        (["jobs", "--limit", "0"], "--limit should be"),
        (["serving", "nonsense"], "ids look like"),
        (["history", NOBODY, "-o", "/nowhere/at/all"], "There is no job"),
        (["jobs", "--url", "ftp://somewhere"], "is not an address of a service"),
    ],
)
def test_a_mistake_prints_the_services_sentence_and_exits_with_2(address: str, words: list[str], message: str) -> None:
    answer = acgan(*words)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_and_a_busy_service_exit_with_4(redis_url: str) -> None:
    answer = acgan("jobs", "--url", f"127.0.0.1:{free_port()}")
    assert answer.returncode == 4
    assert "nothing answers at http://127.0.0.1" in answer.stderr
    with serving(AppSettings(redis_url=redis_url, queue_limit=1)) as address:
        run_json("start", "--url", address)
        answer = acgan("start", "--url", address)
    assert answer.returncode == 4
    assert "retry in 60 s" in answer.stderr


def test_a_service_without_a_generator_is_explained_with_commands(redis_url: str) -> None:
    with serving(AppSettings(redis_url=redis_url, pretrained=False)) as address:
        answer = acgan("order", "--url", address)
        with Client(address) as client, pytest.raises(PROBLEMS["nothing-published"]) as refused:
            client.digits(7)
    assert answer.returncode == 4
    assert "No generator has been published yet: start a run with `acgan start`" in answer.stderr
    assert "/train" not in answer.stderr
    assert refused.value.hint == "start a run with POST /train and retry after its first epoch."


def test_a_key_is_read_from_the_environment_and_requested_if_it_is_missing(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, entry = make_key("ana")
    with serving(AppSettings(redis_url=redis_url, api_keys=SecretStr(str(entry)))) as address:
        refused = acgan("start", "--url", address)
        assert refused.returncode == 2
        assert "ACGAN_KEY" in refused.stderr
        monkeypatch.setenv("ACGAN_KEY", key)
        assert run_json("start", "--url", address)["status"] == "queued"


def test_images_of_any_training_data_are_drawn_into_a_file(
    address: str, store: CheckpointStore, tmp_path: Path
) -> None:
    own = publish_own(store, "20360101-000000-aaaaaa", "letters@1", ("a", "\u00c4", "c"))
    file = tmp_path / "images.png"
    drawn = run_json("images", "letters", "\u00e4", "-n", "4", "--seed", "5", "--columns", "2", "-o", str(file))
    assert (drawn["checkpoint"], drawn["seed"], drawn["index"]) == (own, 5, 0)
    with Client(address) as client:
        assert file.read_bytes() == client.images("letters", 1, n=4, seed=5, columns=2).file
        assert client.image_pixels("letters", n=2, seed=5).shape == (2, 3, 28, 28)
        bring(store.training_data, "letters", ("a", "\u00c4", "c"))
        (found,) = [each for each in client.training_data() if each.name == "letters"]
        assert found == client.training_data_set("letters")
        assert (found.classes, found.newest_checkpoint) == (["a", "\u00c4", "c"], own)
        assert client.training_data_preview("letters").media_type == "image/png"
        client.delete_training_data("letters")
        with pytest.raises(TrainingDataNotFound):
            client.training_data_set("letters")
    all_classes = acgan("images", "letters", "-o", str(tmp_path / "all.npy"))
    assert f"1 of all classes by {own}" in all_classes.stdout
    for words in (["letters", "b", "-o", str(file)], ["letters", "a", "-o", str(tmp_path / "a.gif")]):
        refused = acgan("images", *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
