"""An API that starts while its store is away: it serves the bundled generator, and `trouble` names what is missing."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import AppSettings
from models.registry import bundled
from models.registry.storage.base import Unreachable
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import CheckpointStore
from tests.app.api.test_digits import until
from tests.app.conftest import publish
from tests.app.inference.test_model_manager import served
from tests.app.inference.test_store_trouble import NEWEST, trouble
from tests.models.registry.test_store import NEW
from tests.support.api_clients import local_client


def move_away(root: Path, away: Path) -> None:
    root.rename(away)


def leave_a_mount_point(root: Path, away: Path) -> None:
    root.rename(away)
    root.mkdir()


def put_a_file_in_its_place(root: Path, away: Path) -> None:
    root.rename(away)
    root.write_bytes(b"")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("take_away", [move_away, leave_a_mount_point, put_a_file_in_its_place])
def test_an_api_that_starts_without_its_store_reports_it_and_switches_when_it_is_back(
    settings: AppSettings, store: CheckpointStore, take_away: Callable[[Path, Path], Any]
) -> None:
    settings = settings.model_copy(update={"pretrained": True})
    with local_client(create_app(settings)) as client:
        assert (served(client), trouble(client)) == (NEWEST, "")
    away = store.root.parent / "away"
    take_away(store.root, away)
    with local_client(create_app(settings)) as client:
        assert served(client) == str(bundled.checkpoint())
        assert "missing or empty" in trouble(client)
        assert client.get("/digits/3").status_code == 200
        remove(store.root)
        away.rename(store.root)
        until(lambda: served(client) == NEWEST)
        until(lambda: trouble(client) == "")


def test_the_first_start_and_a_new_store_have_no_trouble(settings: AppSettings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"pretrained": True, "store": str(tmp_path / "new")})
    for _ in range(2):
        with local_client(create_app(settings)) as client:
            assert (served(client), trouble(client)) == (str(bundled.checkpoint()), "")
            time.sleep(1.1)
            assert trouble(client) == ""


def test_an_api_draws_even_if_its_store_cannot_be_read_at_the_start(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that does not answer, as on a network disk."""
    settings = settings.model_copy(update={"pretrained": True})
    really_read = FilesystemStorage.read

    def read(self: FilesystemStorage, *arguments: Any, **options: Any) -> bytes:
        if self.root == store.root:
            raise Unreachable("no answer")
        return really_read(self, *arguments, **options)

    monkeypatch.setattr(FilesystemStorage, "read", read)
    with local_client(create_app(settings)) as client:
        assert served(client) == str(bundled.checkpoint())
        assert "does not answer" in trouble(client)
        monkeypatch.setattr(FilesystemStorage, "read", really_read)
        until(lambda: served(client) == NEWEST)
        newer = publish(store, NEW, 2, seed=3)
        until(lambda: served(client) == newer)
