"""PUT /serving with `If-Match`, and bodies that are not declared as JSON."""

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.config import TrainingConfig
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from tests.app.conftest import fresh_weights, publish, refuse
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.records import manifest

PIN_OLD = {"policy": "pinned", "checkpoint": f"{OLD}-e001"}
PIN_NEW = {"policy": "pinned", "checkpoint": f"{NEW}-e001"}


def test_a_policy_that_another_caller_changed_is_not_overwritten(client: TestClient) -> None:
    seen = client.get("/serving").headers["ETag"]
    changed = client.put("/serving", json=PIN_OLD, headers={"If-Match": seen})
    assert changed.status_code == 200
    refused = client.put("/serving", json=PIN_NEW, headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["type"]) == (412, "/problems/precondition-failed")
    assert client.get("/serving").json()["checkpoint"] == PIN_OLD["checkpoint"]
    again = client.put("/serving", json=PIN_NEW, headers={"If-Match": changed.headers["ETag"]})
    assert again.json()["serving"] == PIN_NEW["checkpoint"]
    assert again.headers["ETag"] == client.get("/serving").headers["ETag"] != seen


@pytest.mark.parametrize("if_match", ["*", '"a", {tag}', " {tag} ,"])
def test_any_of_several_versions_is_accepted(client: TestClient, if_match: str) -> None:
    tag = client.get("/serving").headers["ETag"]
    headers = {"If-Match": if_match.replace("{tag}", tag)}
    assert client.put("/serving", json=PIN_OLD, headers=headers).status_code == 200


@pytest.mark.parametrize("if_match", ['"another"', "W/{tag}", "", ","])
def test_no_other_version_is(client: TestClient, if_match: str) -> None:
    tag = client.get("/serving").headers["ETag"]
    headers = {"If-Match": if_match.replace("{tag}", tag)}
    assert client.put("/serving", json=PIN_OLD, headers=headers).status_code == 412
    assert client.get("/serving").headers["ETag"] == tag


def test_without_a_version_the_last_caller_wins(client: TestClient) -> None:
    for policy in (PIN_OLD, PIN_NEW, {"policy": "newest"}):
        assert client.put("/serving", json=policy).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", None])
def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/train", content='{"epochs": 1}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")
    assert "Content-Type: application/json" in answer.json()["detail"]
    assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.a+json"]
)
def test_every_kind_of_json_is_read(client: TestClient, content_type: str) -> None:
    answer = client.post("/train", content='{"epochs": 1}', headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["config"]["epochs"]) == (202, 1)


def test_a_request_without_a_body_needs_no_type(client: TestClient) -> None:
    assert client.post("/train", headers={"Content-Type": "text/plain"}).status_code == 202
    assert client.post("/train", content=iter([b""])).status_code == 202  # chunked


# ----------------------------------------------------------------------------
# Each training data set has its own newest checkpoint.


def publish_printed(store: CheckpointStore, job: str = "20361127-120000-abcdef") -> str:
    """Publish a generator that was trained on printed digits. Returns its id."""
    store.take(job, 1)
    made = manifest(job).model_copy(update={"config": TrainingConfig(dataset="printed")})
    return store.publish(made, {GENERATOR: fresh_weights(3)}).id


def drawn(client: TestClient) -> dict[str, str]:
    assert client.portal
    client.portal.call(client.app.state.services.inference.models.refresh)  # type: ignore[call-arg, attr-defined]
    headers = client.get("/digits/7?n=2").headers
    return {name: headers[name] for name in ("X-Checkpoint", "X-Dataset")}


def test_a_run_on_another_data_set_does_not_change_what_is_served(client: TestClient, store: CheckpointStore) -> None:
    before = drawn(client)
    printed = publish_printed(store)
    assert drawn(client) == before == {"X-Checkpoint": f"{NEW}-e001", "X-Dataset": "mnist"}
    chosen = client.put("/serving", json={"dataset": "printed"})
    assert (chosen.status_code, chosen.json()["policy"], chosen.json()["dataset"]) == (200, "newest", "printed")
    assert drawn(client) == {"X-Checkpoint": printed, "X-Dataset": "printed"}
    assert client.get("/serving").json()["serving"] == client.get("/checkpoints/latest").json()["id"] == printed
    client.put("/serving", json={"policy": "best", "dataset": "mnist"})
    assert drawn(client) == before


def test_a_data_set_without_a_checkpoint_cannot_be_served(client: TestClient) -> None:
    refused = client.put("/serving", json={"policy": "newest", "dataset": "printed"})
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/checkpoint-not-found")
    assert "checkpoint that was trained on printed may be served yet" in refused.json()["detail"]


def test_data_whose_checkpoints_were_all_refused_say_how_many_and_why(
    client: TestClient, store: CheckpointStore
) -> None:
    def details() -> list[str]:
        answers = [
            client.put("/serving", json={"policy": "newest", "dataset": "printed"}),
            client.get("/images/printed"),
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        return [answer.json()["detail"] for answer in answers]

    refuse(store, "printed", 1, "its digits for 4 have collapsed")
    for detail in details():
        assert "1 exists, and did not pass the quality check: its digits for 4 have collapsed" in detail
    refuse(store, "printed", 2, "only 30.0 % of its digits are recognised")
    for detail in details():
        assert "2 exist, and none passed the quality check; the newest: only 30.0 % of its digits are" in detail
        assert "there are checkpoints of" not in detail


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"policy": "newest", "dataset": 1}, "body.dataset", "should be"),
        ({"policy": "nothing"}, "body.policy", "should be 'newest', 'best' or 'pinned', not 'nothing'"),
        ({"policy": "pinned"}, "body.checkpoint", "is missing"),
        ({}, "body.policy", "should be 'newest', 'best' or 'pinned'"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_field(
    client: TestClient, body: dict[str, str], field: str, message: str
) -> None:
    refused = client.put("/serving", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field
    assert refused.json()["errors"][0]["message"].startswith(message)


def test_printed_digits_are_served_until_mnist_is_published(settings: AppSettings) -> None:
    store = CheckpointStore(settings.store_dir)
    printed = publish_printed(store)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        assert drawn(client) == {"X-Checkpoint": printed, "X-Dataset": "printed"}
        publish(store, OLD, 1, seed=1)
        assert drawn(client) == {"X-Checkpoint": f"{OLD}-e001", "X-Dataset": "mnist"}


def test_mnist_can_be_chosen_before_a_run_publishes_it(settings: AppSettings) -> None:
    printed = publish_printed(CheckpointStore(settings.store_dir))
    settings = settings.model_copy(update={"pretrained": True})
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        assert drawn(client)["X-Checkpoint"] == printed
        chosen = client.put("/serving", json={"dataset": "mnist"}).json()
        assert (chosen["dataset"], chosen["serving_dataset"]) == ("mnist", "mnist")
        assert drawn(client)["X-Checkpoint"].startswith("pretrained-")


def test_printed_digits_do_not_replace_a_lost_checkpoint_of_mnist(settings: AppSettings) -> None:
    store = CheckpointStore(settings.store_dir)
    mnist = publish(store, OLD, 1, seed=1)
    publish_printed(store)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        assert drawn(client)["X-Checkpoint"] == mnist
        store.storage.remove(CheckpointId.parse(mnist).folder)
        assert drawn(client) == {"X-Checkpoint": mnist, "X-Dataset": "mnist"}
        assert "no longer has a checkpoint" in client.get("/readyz").json()["trouble"]


def test_the_newest_of_another_data_set_can_be_deleted(client: TestClient, store: CheckpointStore) -> None:
    printed = publish_printed(store)
    assert client.delete(f"/checkpoints/{printed}").status_code == 204
    latest = store.find_latest()
    assert (latest.trouble, set(latest.datasets or {})) == (None, {"mnist"})
    refused = client.delete(f"/checkpoints/{NEW}-e001")
    assert refused.status_code == 409
    assert drawn(client)["X-Dataset"] == "mnist"
