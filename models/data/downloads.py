"""Downloads training data.

Each download has limits on its bytes, on the time without data and on the total time, and uses the configured proxies.
"""

import threading
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from models.bounded_reading import FileTooLarge, printable
from models.errors import Unavailable
from models.proxies import InvalidProxy, Proxy, missing_certificates, proxy_for

PIECE = 1 << 16  # bytes
SILENCE_SECONDS = 10.0  # for a connection, and between two pieces
SECONDS = 300.0  # for a file of at most some ten megabytes
SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


class DownloadFailed(Unavailable, OSError, code="download-failed"):
    """A file was not downloaded. If a proxy or an environment variable is the cause, the message names it."""


class BoundedFile:
    """A file for writing that raises FileTooLarge beyond a number of bytes."""

    def __init__(self, file: BinaryIO, limit: int, name: str) -> None:
        self.file = file
        self.limit = self.left = limit
        self.name = name

    def write(self, data: bytes) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise FileTooLarge(f"{printable(self.name)} is larger than {self.limit:,} bytes")
        return self.file.write(data)


def download(address: str, path: Path, limit: int, seconds: float = SECONDS) -> None:
    """Download a file of at most `limit` bytes within `seconds`, also if the server sends slowly.

    Raises DownloadFailed, FileTooLarge, OSError or ValueError.
    """
    proxy = _usable_proxy(address)
    failures: list[BaseException] = []
    with path.open("wb") as file:
        bounded = BoundedFile(file, limit, address)

        def run() -> None:
            try:
                _fetch(address, bounded, proxy)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="download", daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            bounded.left = 0  # it ends with the next piece
            raise DownloadFailed(f"it took longer than {seconds:g} s")
    if failures:
        raise _explained(failures[0], proxy)


def _usable_proxy(address: str) -> Proxy | None:
    """Return the proxy to use. Raises DownloadFailed if a variable names one, or certificates, that cannot be used."""
    proxy = proxy_for(address)
    try:
        if proxy is not None:
            proxy.check(SCHEMES)
    except InvalidProxy as error:
        raise DownloadFailed(str(error)) from None
    missing = missing_certificates("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    if missing and urlsplit(address).scheme == "https":
        raise DownloadFailed(missing)
    return proxy


def _fetch(address: str, file: BoundedFile, proxy: Proxy | None) -> None:
    import requests  # here, since only a download needs it

    proxies = {"no_proxy": "*"} if proxy is None else {"http": proxy.url, "https": proxy.url}
    with requests.get(address, timeout=SILENCE_SECONDS, proxies=proxies, stream=True) as response:
        response.raise_for_status()
        for piece in response.iter_content(PIECE):
            file.write(piece)


def _explained(error: BaseException, proxy: Proxy | None) -> BaseException:
    """Name the proxy in an error that it may have caused."""
    if proxy is None or isinstance(error, FileTooLarge):
        return error
    return DownloadFailed(
        f"through the proxy {proxy}: {type(error).__name__}; unset {proxy.variable}, or name the host in NO_PROXY"
    )
