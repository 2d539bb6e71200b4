"""The store reserves room for data sets that are ordered and not finished."""

from app.main import create_app
from app.settings import AppSettings
from models.registry.retention import BYTES_A_DIGIT, Usage
from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW
from tests.support.api_clients import local_client

BODY = {"per_class": 1000, "test_per_class": 1}
ROOM = 1001 * 10 * BYTES_A_DIGIT


def test_room_for_one_data_set_is_reserved_for_one_order(settings: AppSettings, store: CheckpointStore) -> None:
    publish(store, NEW, 2, seed=3)
    limit = Usage(store.storage.files()).total + ROOM + ROOM // 2
    with local_client(create_app(settings.model_copy(update={"store_limit": limit}))) as client:
        first = client.post("/datasets", json=BODY).json()["id"]
        second = client.post("/datasets", json=BODY)
        assert (second.status_code, "ordered already" in second.json()["detail"]) == (409, True)

        client.post(f"/jobs/{first}/cancel")
        second = client.post("/datasets", json=BODY)
        assert second.status_code == 202
        for again in ("resume", "retry"):
            assert client.post(f"/jobs/{first}/{again}").status_code == 409
        client.post(f"/jobs/{second.json()['id']}/cancel")
        assert client.post(f"/jobs/{first}/resume").status_code == 202
