"""Data sets in other layouts, from a real service to the files of the clients and the commands."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import anyio
import httpx2
import numpy as np
import pytest

from acgan_client import AsyncClient, Client, Misconfigured, problems
from acgan_client.archives import CONTENTS, Layout
from app.settings import AppSettings
from models.data.idx import read_idx
from models.synthesis.builder import make
from models.synthesis.layouts.table import LAYOUTS
from models.synthesis.order import DatasetOrder, Provenance
from tests.app.cli.test_cli import acgan
from tests.conftest import RunningRedis, set_environment
from tests.support.serving import serving, until

JOB = "20260131-120000123-00001c-9f3a61c2d4e58b07"
ORIGIN = Provenance(generator_sha256="0" * 64, device="cpu", code_version="test")
ARCHIVE = f"/datasets/{JOB}/archive"
RAW = "MNIST/raw/train-images-idx3-ubyte"


def noise(n: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(first).integers(0, 256, (10 * n, 28, 28), np.uint8)
    return pixels, np.zeros(10 * n, np.uint8)


@pytest.fixture(scope="module")
def service(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a service whose store has one data set, and the folder of that data set."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("layouts") / "home")
        settings = AppSettings(redis_url=shared_redis.url)
        folder = settings.store_dir / JOB / "dataset"
        list(make(folder, DatasetOrder(per_class=900, test_per_class=3, checkpoint="a-e001"), ORIGIN, noise))
        with serving(settings) as address:
            patch.setenv("ACGAN_URL", address)
            yield address, folder


@pytest.fixture
def address(service: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ACGAN_URL", service[0])
    return service[0]


def images(folder: Path, split: str = "train") -> np.ndarray:
    return read_idx(gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes()))


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_client_knows_every_layout() -> None:
    assert set(get_args(Layout)) == set(LAYOUTS) == {"mnist", *CONTENTS}


def test_both_clients_unpack_the_layouts(address: str, service: tuple[str, Path], tmp_path: Path) -> None:
    async def fetch(layout: Layout) -> list[Path]:
        async with AsyncClient(address) as client:
            return [path async for path in client.download(JOB, tmp_path / "async", layout)]

    with Client(address) as client:
        paths = list(client.download(JOB, tmp_path, "torchvision"))
        assert {str(path.relative_to(tmp_path)) for path in paths} == everything(tmp_path)
        assert (tmp_path / RAW).read_bytes() == gzip.decompress(
            (service[1] / "train-images-idx3-ubyte.gz").read_bytes()
        )
        assert anyio.run(fetch, "keras") == [tmp_path / "async" / "mnist.npz"]
    with np.load(tmp_path / "async" / "mnist.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["x_test"], images(service[1], "t10k"))
        assert np.array_equal(arrays["y_train"], np.tile(np.arange(10), 900))


def test_files_with_the_same_content_are_kept_and_others_replaced(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        list(client.download(JOB, tmp_path, "torchvision"))
        kept, damaged = tmp_path / RAW, tmp_path / RAW.replace("train", "t10k")
        before, content = kept.stat().st_mtime_ns, damaged.read_bytes()
        damaged.unlink()
        damaged.symlink_to(tmp_path / "elsewhere")
        list(client.download(JOB, tmp_path, "torchvision"))
    assert kept.stat().st_mtime_ns == before
    assert not damaged.is_symlink()
    assert damaged.read_bytes() == content
    assert not (tmp_path / "elsewhere").exists()


def test_the_mnist_layout_of_the_client_is_checked_file_by_file(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        assert len(list(client.download(JOB, tmp_path, "mnist"))) == 4
        with pytest.raises(Misconfigured, match="there is no layout 'folder'"):
            list(client.download(JOB, tmp_path, "folder"))  # type: ignore[arg-type]


def test_commands_refuse_a_layout_before_they_start_a_job(tmp_path: Path) -> None:
    refused = acgan("order", "--layout", "folder", "-o", str(tmp_path))
    assert (refused.returncode, "--layout should be one of mnist, torchvision" in refused.stderr) == (2, True)
    refused = acgan("order", "--layout", "keras")
    assert (refused.returncode, "--layout needs --out" in refused.stderr) == (2, True)


@pytest.mark.parametrize("layout", ["mnist", "torchvision", "keras"])
def test_an_archive_has_a_name_and_an_etag(address: str, layout: str) -> None:
    with httpx2.Client(base_url=address) as client:
        answer = client.get(ARCHIVE, params={"layout": layout})
        assert answer.headers["Content-Type"] == "application/zip"
        assert LAYOUTS[layout].file in answer.headers["Content-Disposition"]
        tag = {"If-None-Match": answer.headers["ETag"]}
        assert client.get(ARCHIVE, params={"layout": layout}, headers=tag).status_code == 304
        assert client.get(ARCHIVE, params={"layout": "mnist" if layout != "mnist" else "keras"}, headers=tag).is_success
        head = client.head(ARCHIVE, params={"layout": layout})
        assert (head.headers["ETag"], head.content) == (answer.headers["ETag"], b"")


def test_unknown_layouts_and_data_sets_are_refused(address: str) -> None:
    with httpx2.Client(base_url=address) as client:
        assert "'mnist', 'torchvision', 'keras' or 'huggingface'" in client.get(f"{ARCHIVE}?layout=x").json()["detail"]
        assert client.get(f"{ARCHIVE}?format=zip").status_code == 422
        missing = client.get(ARCHIVE.replace("20260131", "20250131"))
        assert missing.json()["type"] == "/problems/dataset-file-not-found"


def test_a_limited_number_of_archives_is_sent_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.dataset_archives.AT_ONCE", 1)
    with httpx2.Client(base_url=address) as client:
        with client.stream("GET", f"{ARCHIVE}?layout=keras") as first:
            assert first.status_code == 200
            second = client.get(f"{ARCHIVE}?layout=keras")
            assert second.json()["type"] == "/problems/too-many-archives"
            assert second.json()["hint"].endswith(f"GET /datasets/{JOB} lists.")
            with Client(address) as other, pytest.raises(problems.TooManyArchives):
                list(other.download(JOB, tmp_path, "keras"))
        until("the first has ended", lambda: client.get(f"{ARCHIVE}?layout=keras").status_code == 200)


def test_an_archive_of_a_damaged_data_set_is_cut_off(address: str, service: tuple[str, Path], tmp_path: Path) -> None:
    path = service[1] / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-12] + b"?" + content[-11:])
        with httpx2.Client(base_url=address) as client, pytest.raises(httpx2.RemoteProtocolError):
            client.get(f"{ARCHIVE}?layout=torchvision")
        with Client(address) as ours, pytest.raises(Exception, match="connection"):
            list(ours.download(JOB, tmp_path, "torchvision"))
        assert everything(tmp_path) == set()
    finally:
        path.write_bytes(content)
