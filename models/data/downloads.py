"""Downloads training data.

Each download has limits on its bytes, on the time without data and on the total time, and uses the configured proxies.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from models.bounded_reading import FileTooLarge, printable
from models.errors import Unavailable
from models.proxies import InvalidProxy, Proxy, missing_certificates, proxy_for

logger = logging.getLogger(__name__)

PIECE = 1 << 16  # bytes
SILENCE_SECONDS = 10.0  # for a connection, and between two pieces
SECONDS = 300.0  # for a file of at most some ten megabytes
PROGRESS_SECONDS = 15.0  # between two messages
CHECK_SECONDS = 0.5  # longest time between two calls of `check`
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


def download(
    address: str,
    path: Path,
    limit: int,
    seconds: float = SECONDS,
    *,
    is_decoded: bool = True,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Download a file of at most `limit` bytes within `seconds`, also if the server sends slowly.

    A `Content-Encoding`, as some servers set for .gz, is undone, unless not `is_decoded`: then the bytes are those that
    the server sends. Progress is logged. `check` is called twice a second and may end the download by raising. Raises
    DownloadFailed, FileTooLarge, OSError or ValueError, and what `check` raises.
    """
    proxy = _usable_proxy(address)
    failures: list[BaseException] = []
    with path.open("wb") as file:
        bounded = BoundedFile(file, limit, address)

        def run() -> None:
            try:
                _fetch(address, bounded, proxy, is_decoded)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="download", daemon=True)
        thread.start()
        try:
            _wait(thread, bounded, seconds, check)
        finally:
            bounded.left = 0  # if the thread still runs, it ends with the next piece
    if failures:
        raise _explained(failures[0], proxy)


def _wait(thread: threading.Thread, file: BoundedFile, seconds: float, check: Callable[[], None]) -> None:
    """Wait for the end of a download, and log its progress.

    Raises DownloadFailed after `seconds`, and what `check` raises.
    """
    now = time.monotonic()
    end, report_at = now + seconds, now + PROGRESS_SECONDS
    while thread.is_alive() and now < end:
        check()
        thread.join(min(end - now, CHECK_SECONDS, PROGRESS_SECONDS))
        now = time.monotonic()
        if thread.is_alive() and now >= report_at:
            done = (file.limit - file.left) // 1_000_000
            logger.info("%s: %d MB so far, of at most %d", printable(file.name), done, file.limit // 1_000_000)
            report_at = now + PROGRESS_SECONDS
    if thread.is_alive():
        raise DownloadFailed(f"it took longer than {seconds:g} s")


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


def _fetch(address: str, file: BoundedFile, proxy: Proxy | None, is_decoded: bool) -> None:
    import requests  # here, since only a download needs it
    import urllib3

    proxies = {"no_proxy": "*"} if proxy is None else {"http": proxy.url, "https": proxy.url}
    with requests.get(address, timeout=SILENCE_SECONDS, proxies=proxies, stream=True) as response:
        response.raise_for_status()
        try:
            raw = response.raw.stream(PIECE, decode_content=False)
            for piece in response.iter_content(PIECE) if is_decoded else raw:
                file.write(piece)
        except urllib3.exceptions.HTTPError as error:  # of `raw`; requests makes OSErrors of its own
            raise DownloadFailed(f"the connection failed in the middle: {type(error).__name__}") from error


def _explained(error: BaseException, proxy: Proxy | None) -> BaseException:
    """Name the proxy in an error that it may have caused."""
    if proxy is None or isinstance(error, FileTooLarge):
        return error
    return DownloadFailed(
        f"through the proxy {proxy}: {type(error).__name__}; unset {proxy.variable}, or name the host in NO_PROXY"
    )
