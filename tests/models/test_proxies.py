"""Which requests go through a proxy, and how a download reports unusable proxies or certificates."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from models.bounded_reading import FileTooLarge
from models.data.catalog import DATASETS
from models.data.downloads import DownloadFailed, download
from models.data.idx_source import DatasetUnavailable, load_idx
from models.proxies import InvalidProxy, Proxy, exempt_this_machine, is_this_machine, proxy_for, without_credentials

DEAD = "http://127.0.0.1:9"

MNIST = DATASETS["mnist"]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost.",
        "a.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "::1",
        "[::1]",
        "::ffff:127.0.0.2",
        "::",
    ],
)
def test_every_name_of_this_machine_is_recognised(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host",
    ["example.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "128.0.0.1", "127.example.com", "", "fe80::1"],
)
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize(
    "value", [DEAD, "socks5://x:1", "nonsense", "://", "http://[", "\x1b", "ftp://x", "http://x:y"]
)
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
def test_no_proxy_is_used_for_this_machine(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    for url in ("http://localhost:8000", "https://127.0.0.1", "http://[::1]:80/x", "http://[::ffff:127.0.0.1]"):
        assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({"http_proxy": "a:1"}, "http://x", "http_proxy=a:1"),
        ({"http_proxy": "a:1"}, "https://x", None),
        ({"http_proxy": "a:1", "HTTP_PROXY": "b:1"}, "http://x", "http_proxy=a:1"),
        ({"http_proxy": "", "HTTP_PROXY": "b:1"}, "http://x", None),
        ({"HTTP_PROXY": "b:1", "REQUEST_METHOD": "GET"}, "http://x", None),
        ({"ALL_PROXY": "c:1"}, "https://x", "ALL_PROXY=c:1"),
        ({"HTTPS_PROXY": "b:1", "all_proxy": "c:1"}, "https://x", "HTTPS_PROXY=b:1"),
        ({"all_proxy": "c:1", "NO_PROXY": "x"}, "http://x", None),
        ({"all_proxy": "c:1", "no_proxy": "y", "NO_PROXY": "x"}, "http://x", "all_proxy=c:1"),
        ({"all_proxy": "c:1", "no_proxy": "*"}, "http://x", None),
        ({"all_proxy": "c:1", "no_proxy": " .example.com , "}, "http://a.example.com", None),
        ({"all_proxy": "c:1", "no_proxy": "*.example.com"}, "http://a.example.com", None),
        ({"all_proxy": "c:1", "no_proxy": "example.com"}, "http://notexample.com", "all_proxy=c:1"),
        ({"all_proxy": "c:1", "no_proxy": "10.0.0.0/8"}, "http://10.2.3.4", None),
        ({"all_proxy": "c:1", "no_proxy": "fe80::/10,[fd00::1]"}, "http://[fd00::1]", None),
        ({"all_proxy": "c:1", "no_proxy": "x:80"}, "http://x:80", None),
        ({"all_proxy": "c:1", "no_proxy": "x:80"}, "http://x:81", "all_proxy=c:1"),
        ({"all_proxy": "c:1", "no_proxy": "[,://,\x1b,10.0.0.0/99,:"}, "http://x", "all_proxy=c:1"),
    ],
    ids=str,
)
def test_the_variables_have_their_usual_meaning(
    variables: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url)
    assert (None if proxy is None else str(proxy)) == expected


@pytest.mark.parametrize("value", ["http://", "http://[", "http://x:y", "http://x:99999", "a b", "x\x1b[0m", "ftp://x"])
def test_an_invalid_proxy_is_reported_in_a_sentence(value: str) -> None:
    with pytest.raises(InvalidProxy, match="http_proxy=") as invalid:
        Proxy("http_proxy", value).check(("http", "https"))
    assert str(invalid.value).isprintable()


@pytest.mark.parametrize(
    "value", ["http://ana:secret@x:1", "ana:secret@x:1", "socks5://ana:se/cr@et:secret@x", "ana:secret@"]
)
def test_credentials_are_not_shown(value: str) -> None:
    assert not any(word in without_credentials(value) for word in ("ana", "secret", "se/cr"))


def test_libraries_that_read_the_variables_themselves_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.delenv("no_proxy", raising=False)
    for _ in range(2):
        exempt_this_machine()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    assert os.environ["NO_PROXY"].split(",").count("localhost") == 1
    assert os.environ["NO_PROXY"].startswith("example.com,")


# ----------------------------------------------------------------------------
# Downloads.


@contextmanager
def sending(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends these pieces, and repeats the last one until the test ends if there is a pause."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                    while pause and not over.wait(pause):
                        connection.sendall(pieces[-1])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join(10)


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_a_download_from_this_machine_needs_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none")
    with sending(HEAD, b"data") as url:
        download(url, tmp_path / "file", 10)
    assert (tmp_path / "file").read_bytes() == b"data"


def test_a_slow_download_ends_at_its_time_limit(tmp_path: Path) -> None:
    """Without the limit, each download would take longer than a test may take."""
    for pieces in ((HEAD, b"x"), (b"HTTP/1.1 200 OK\r\nX: ", b"x")):
        with (
            sending(*pieces, pause=0.05) as url,
            pytest.raises(DownloadFailed, match="longer than 1 s"),
        ):
            download(url, tmp_path / "file", 10_000, seconds=1)


def test_a_download_that_is_too_large_ends(tmp_path: Path) -> None:
    with sending(HEAD, b"x" * 5000) as url, pytest.raises(FileTooLarge):
        download(url, tmp_path / "file", 1000)


ENVIRONMENTS: list[tuple[dict[str, str], str]] = [
    ({"http_proxy": DEAD}, "http_proxy=http://127.0.0.1:9"),
    ({"http_proxy": "http://ana:secret@127.0.0.1:9"}, r"http_proxy=http://\*\*\*@127.0.0.1:9"),
    ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "ALL_PROXY=socks5://127.0.0.1:9"),
    ({"http_proxy": "nonsense://x"}, "http_proxy=nonsense://x"),
    ({"http_proxy": "http://["}, r"http_proxy=http://\["),
]


@pytest.mark.parametrize(("variables", "named"), ENVIRONMENTS, ids=str)
def test_an_unusable_proxy_in_front_of_a_mirror_is_reported_in_a_sentence(
    variables: dict[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DatasetUnavailable, match=named) as unavailable:
        load_idx(MNIST, None, tmp_path, ["http://mirror.invalid"])
    assert "secret" not in str(unavailable.value)


def test_missing_certificates_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(DatasetUnavailable, match=r"REQUESTS_CA_BUNDLE=.*none\.pem names a file that does not exist"):
        load_idx(MNIST, None, tmp_path / "cache", ["https://mirror.invalid"])
