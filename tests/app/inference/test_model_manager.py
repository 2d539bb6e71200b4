"""The checkpoint that `latest` means: the newest publication, the best one, or a pinned one."""

import io

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from models.registry import bundled
from models.registry.retention import apply_retention
from models.registry.serving_policy import CHOICE, FIGURE
from models.registry.store import AVERAGE, GENERATOR, CheckpointId, CheckpointStore
from models.sampling.sampler import draw_digits, prepare
from tests.app.api.test_digits import until
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW, OLD, manifest
from tests.support.api_clients import local_client


def judged(store: CheckpointStore, epoch: int, figure: float, job: str = NEW) -> str:
    made = manifest(job, epoch, age_seconds=3600).model_copy(update={"metrics": {FIGURE: figure}})
    return store.publish(made, {GENERATOR: to_bytes(Generator())}).id


def served(client: TestClient) -> str:
    checkpoint: str = client.get("/digits/3").headers["X-Checkpoint"]
    return checkpoint


def test_rolling_back_is_one_call(client: TestClient, store: CheckpointStore) -> None:
    of_mnist = {"dataset": None, "by": "epoch", "serving_dataset": "mnist"}
    newest = {"policy": "newest", "checkpoint": None, "serving": f"{NEW}-e001"}
    assert client.get("/serving").json() == newest | of_mnist
    result = client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
    assert result.json() == {"policy": "pinned", "checkpoint": f"{OLD}-e001", "serving": f"{OLD}-e001"} | of_mnist
    assert served(client) == f"{OLD}-e001"
    newer = publish(store, NEW, 2, seed=3)
    assert client.get("/checkpoints").json()["serving"] == f"{OLD}-e001"
    assert client.put("/serving", json={"policy": "newest"}).json()["serving"] == newer
    assert served(client) == newer


def test_the_policy_survives_a_restart_and_reaches_every_process(
    client: TestClient, settings: AppSettings, store: CheckpointStore
) -> None:
    with local_client(create_app(settings)) as other:
        other.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
        until(lambda: served(client) == f"{OLD}-e001")
    with local_client(create_app(settings)) as later:
        assert served(later) == f"{OLD}-e001"


def test_the_best_checkpoint_is_served_by_the_policy_best(client: TestClient, store: CheckpointStore) -> None:
    assert client.put("/serving", json={"policy": "best"}).json()["serving"] == f"{NEW}-e001"  # none is judged yet
    good = judged(store, 2, figure=3.0)
    until(lambda: served(client) == good)
    judged(store, 3, figure=7.0)
    better = judged(store, 4, figure=2.0)
    until(lambda: served(client) == better)
    client.put("/serving", json={"policy": "newest"})
    newest = publish(store, NEW, 5, seed=1)
    until(lambda: served(client) == newest)
    assert client.get("/digits/3?checkpoint=best").headers["X-Checkpoint"] == better


def test_the_best_checkpoint_may_be_of_an_older_run_that_publishes_later(
    client: TestClient, store: CheckpointStore
) -> None:
    good = judged(store, 2, figure=3.0)
    assert client.put("/serving", json={"policy": "best"}).json()["serving"] == good
    better = judged(store, 2, figure=2.0, job=OLD)
    until(lambda: served(client) == better)
    assert str(store.latest("mnist")) == good


@pytest.mark.parametrize(
    ("order", "status", "message"),
    [
        ({"policy": "pinned", "checkpoint": f"{NEW}-e009"}, 404, "There is no checkpoint"),
        ({"policy": "pinned", "checkpoint": "nonsense"}, 404, "ids look like"),
        ({"policy": "pinned"}, 422, "body.checkpoint: is missing."),
        ({"policy": "newest", "checkpoint": f"{OLD}-e001"}, 422, "body.checkpoint: there is no such field"),
        ({"policy": "oldest"}, 422, "body.policy: should be 'newest', 'best' or 'pinned', not 'oldest'."),
        ({}, 422, "body.policy: should be 'newest', 'best' or 'pinned'."),
    ],
)
def test_an_impossible_policy_is_refused(client: TestClient, order: dict[str, str], status: int, message: str) -> None:
    answer = client.put("/serving", json=order)
    assert answer.status_code == status
    assert message in answer.json()["detail"]
    assert client.get("/serving").json()["policy"] == "newest"


def test_a_damaged_checkpoint_cannot_be_pinned(client: TestClient, store: CheckpointStore) -> None:
    (store.folder(CheckpointId(OLD, 1)) / GENERATOR).write_bytes(b"rubbish")
    answer = client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
    assert answer.status_code == 503
    assert "checksum" in answer.json()["detail"]
    assert served(client) == f"{NEW}-e001"


def test_a_damaged_policy_file_counts_as_none(client: TestClient, store: CheckpointStore) -> None:
    (store.root / CHOICE).write_bytes(b"{")
    assert client.get("/serving").json()["policy"] == "newest"
    assert served(client) == f"{NEW}-e001"


def test_the_served_and_the_best_checkpoint_stay_whatever_their_size(
    client: TestClient, store: CheckpointStore
) -> None:
    for epoch in range(2, 6):
        judged(store, epoch, figure=abs(epoch - 3))
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{NEW}-e002"})
    assert apply_retention(store, 0) == [f"{NEW}-e004"]


def test_a_refused_checkpoint_is_never_served(client: TestClient, store: CheckpointStore) -> None:
    good = judged(store, 2, figure=3.0)
    made = manifest(NEW, 3).model_copy(update={"metrics": {FIGURE: 1.0}, "refused": "its digits for 7 have collapsed"})
    refused = store.publish(made, {GENERATOR: to_bytes(Generator())}).id
    until(lambda: served(client) == good)
    assert client.put("/serving", json={"policy": "best"}).json()["serving"] == good
    for answer in (
        client.get(f"/digits/3?checkpoint={refused}"),
        client.put("/serving", json={"policy": "pinned", "checkpoint": refused}),
    ):
        assert answer.status_code == 409
        assert "its digits for 7 have collapsed" in answer.json()["detail"]
    listed = client.get(f"/checkpoints/{refused}").json()
    assert listed["refused"] == "its digits for 7 have collapsed"
    assert client.get("/readyz").json()["trouble"] is None


def test_the_averaged_weights_are_served_if_they_draw_better(client: TestClient, store: CheckpointStore) -> None:
    raw, average = Generator(), Generator()
    made = manifest(NEW, 2).model_copy(update={"draws": AVERAGE})
    published = store.publish(made, {GENERATOR: to_bytes(raw), AVERAGE: to_bytes(average)})
    until(lambda: served(client) == published.id)
    expected = draw_digits(prepare(average.eval(), torch.device("cpu")), 3, 5, seed=1)
    answer = client.get("/digits/3?n=5&seed=1&format=npy")
    assert np.array_equal(np.load(io.BytesIO(answer.content)), expected)


def test_before_any_publication_the_bundled_generator_draws(redis_url: str) -> None:
    first = bundled.checkpoint()
    assert first, "the package has no generator"
    settings = AppSettings(redis_url=redis_url, pretrained=True)
    with local_client(create_app(settings)) as client:
        assert served(client) == str(first)
        for name in (str(first), "best", "latest"):
            assert client.get(f"/digits/7?n=40&checkpoint={name}").headers["X-Checkpoint"] == str(first)
        (listed,) = client.get("/checkpoints").json()["checkpoints"]
        assert listed["id"] == str(first)
        assert client.get(listed["links"]["self"]).status_code == 200
        assert "job" not in listed["links"]
        newer = publish(CheckpointStore(settings.store_dir), OLD, 1, seed=1)
        until(lambda: served(client) == newer)
        assert client.get(f"/digits/7?checkpoint={first}").status_code == 200
        pin = {"policy": "pinned", "checkpoint": str(first)}
        assert client.put("/serving", json=pin).json()["serving"] == str(first)
        assert served(client) == str(first)
