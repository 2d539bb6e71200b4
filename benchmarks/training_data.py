"""Time and memory of 100,000 PNG files that become training data: by the command, after a kill, and over HTTP.

python -m benchmarks.training_data [--images 100000] [--side 100] [--folder DIR] makes the files in a temporary folder,
and prints a table and one line of JSON. Nothing is left of it.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.server.embedded_redis import free_port
from benchmarks.processes import Memory, cpu_seconds, memory, running, tree
from models.registry.store import CheckpointStore

CLASSES = 10
PART = 2000  # files that a process writes at a time
SAMPLE_SECONDS = 0.3  # between two measurements of memory
LONGEST_SECONDS = 1800.0
UPLOAD_LIMIT = 8 << 30


class Measured(NamedTuple):
    what: str
    seconds: float
    cpu: float  # seconds of all processes
    rss: float  # MiB of all processes at one moment, at most; a page that is shared counts in each process
    pss: float  # the same; it counts once
    images: int  # in the result


# ----------------------------------------------------------------------------
# Files.


def picture(number: int, side: int) -> np.ndarray:
    """A picture of a number's last digit, (side, side) uint8: uneven ink on paper. Each number gives another one."""
    random = np.random.default_rng(number)
    glyph = Image.new("L", (side, side))
    place = (side * random.uniform(0.2, 0.4), side * random.uniform(0, 0.2))
    ImageDraw.Draw(glyph).text(place, str(number % CLASSES), 255, ImageFont.load_default(side * 0.7))
    ink = random.integers(0, 90, (side, side), np.uint8)
    return np.where(np.asarray(glyph) > 127, ink, random.integers(235, 256, (side, side), np.uint8))


def write_part(folder: Path, side: int, numbers: range) -> None:
    for number in numbers:
        Image.fromarray(picture(number, side)).save(folder / str(number % CLASSES) / f"{number}.png", compress_level=1)


def write_pictures(folder: Path, images: int, side: int) -> Path:
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    parts = [range(first, min(first + PART, images)) for first in range(0, images, PART)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_part, folder, side), parts))
    return folder


def pack(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as made:
        for path in sorted(folder.glob("*/*.png")):
            made.write(path, path.relative_to(folder))
    return archive


# ----------------------------------------------------------------------------
# Measuring.


class Peak:
    """The largest memory that a process and its descendants had, measured in a thread. `find` returns the process."""

    def __init__(self, find: Callable[[], int | None]) -> None:
        self.find, self.rss, self.pss = find, 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            root = self.find()
            found = memory(root) if root else Memory(0.0, 0.0)
            self.rss, self.pss = max(self.rss, found.rss), max(self.pss, found.pss)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def environment(home: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACGAN_")}
    return inherited | {"ACGAN_HOME": str(home), "ACGAN_PRETRAINED": "true"}


@contextmanager
def adding(home: Path, source: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "app.cli", "training-data", "add", "bench", str(source), "--json"]
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        yield process


def chunks(home: Path) -> dict[str, int]:
    """The finished parts of an import and their inodes, which change if one is written again."""
    found = dict[str, int]()
    for path in home.glob("imports/*/*.chunk"):
        with suppress(FileNotFoundError):  # the command deletes them when the result is stored
            found[path.name] = path.stat().st_ino
    return found


def add(what: str, home: Path, source: Path) -> Measured:
    """Add a folder or file by the command, to its end."""
    started, before = time.monotonic(), os.times()
    with adding(home, source) as process, Peak(lambda: process.pid) as peak:
        assert process.stdout is not None
        printed = process.stdout.read()
        if process.wait() != 0:
            raise SystemExit(f"{what}: exit code {process.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    view = json.loads(printed)
    images = sum(view["train_counts"]) + sum(view["test_counts"])
    return Measured(what, time.monotonic() - started, cpu, peak.rss, peak.pss, images)


def kill_in_the_middle(home: Path, source: Path, parts: int) -> tuple[dict[str, int], float]:
    """Start the command, and kill it with half of its parts finished. Returns these, and the seconds until then."""
    started = time.monotonic()
    with adding(home, source) as process:
        while len(chunks(home)) < parts // 2:
            if process.poll() is not None or time.monotonic() - started > LONGEST_SECONDS:
                raise SystemExit("the command ended before it was killed")
            time.sleep(0.05)
        process.kill()
    return chunks(home), time.monotonic() - started


@contextmanager
def watched_parts(home: Path) -> Iterator[dict[str, int]]:
    """Collect the finished parts that exist at any time, with their inodes."""
    seen, over = dict[str, int](), threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            seen.update(chunks(home))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


# ----------------------------------------------------------------------------
# Over HTTP.


def ask(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def send(port: int, archive: Path) -> str:
    """Send the archive in pieces. Returns the job."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    with archive.open("rb") as file:
        headers = {"Content-Type": "application/zip", "Content-Length": str(archive.stat().st_size)}
        connection.request("PUT", "/training-data/bench?file=bench.zip", body=file, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    connection.close()
    if answer.status != 202:
        raise SystemExit(f"PUT /training-data/bench: {answer.status} {body.decode()}")
    return str(json.loads(body)["id"])


def until_ended(port: int, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        job = ask(port, f"/jobs/{job_id}")
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.2)
    raise SystemExit(f"the job did not end within {LONGEST_SECONDS:.0f} s")


def importer(service: int) -> int | None:
    """The process of the service that reads the archive, if there is one."""
    return next((each.pid for each in tree(service) if "worker.importing.program" in command_line(each.pid)), None)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def over_http(folder: Path, archive: Path) -> list[Measured]:
    """Send the archive to `acgan up`, and wait for the job. Memory is that of API, worker and Redis together."""
    port, home = free_port(), folder / "service"
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(home), "--port", str(port)]
    given = environment(home) | {"ACGAN_UPLOAD_LIMIT": str(UPLOAD_LIMIT)}
    request = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with running(command, given, folder, port, request) as service:
        idle = memory(service.pid)
        started, cpu = time.monotonic(), cpu_seconds(service.pid)
        with Peak(lambda: service.pid) as sending:
            job_id = send(port, archive)
        sent, cpu_sent = time.monotonic(), cpu_seconds(service.pid)
        with Peak(lambda: service.pid) as reading, Peak(partial(importer, service.pid)) as importing:
            job = until_ended(port, job_id)
        ended = time.monotonic()
        if job["status"] != "succeeded":
            raise SystemExit(f"the job {job['status']}: {job['error']}")
        images = job["result"]["train_images"] + job["result"]["test_images"]
        return [
            Measured("service, idle", 0.0, 0.0, idle.rss, idle.pss, 0),
            Measured("PUT of a zip archive", sent - started, cpu_sent - cpu, sending.rss, sending.pss, 0),
            Measured("its job", ended - sent, cpu_seconds(service.pid) - cpu_sent, reading.rss, reading.pss, images),
            Measured("of which its importing processes", 0.0, 0.0, importing.rss, importing.pss, images),
        ]


# ----------------------------------------------------------------------------


def checksum(home: Path) -> str:
    (manifest,) = CheckpointStore(home / "checkpoints").training_data.manifests()
    return manifest.dataset_checksum


def measure(folder: Path, images: int, side: int, say: Callable[[str], None]) -> list[Measured]:
    say(f"writing {images:,} PNG files of {side} x {side}")
    source = write_pictures(folder / "pictures", images, side)
    homes = [folder / name for name in ("straight", "killed", "service")]
    say("adding the folder")
    with watched_parts(homes[0]) as all_parts:
        rows = [add("folder", homes[0], source)]
    say("killing the command in the middle, then running it again")
    kept, seconds = kill_in_the_middle(homes[1], source, len(all_parts))
    with watched_parts(homes[1]) as after:
        rows.append(add(f"folder, continued after kill -9 at {seconds:.0f} s", homes[1], source))
    again = [name for name, inode in kept.items() if after.get(name, inode) != inode]
    if again:
        raise SystemExit(f"{len(again)} of {len(kept)} finished parts were decoded again")
    say("sending an archive")
    archive = pack(source, folder / "bench.zip")
    rows += over_http(folder, archive)
    if len(found := {checksum(home) for home in homes}) != 1:
        raise SystemExit(f"the three ways gave different training data: {found}")
    say(f"{len(kept)} of {len(all_parts)} parts were kept; the archive has {archive.stat().st_size / 1e6:.0f} MB")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=100, help="pixels")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    given = parser.parse_args()
    say = partial(print, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="acgan-", dir=given.folder) as folder:
        rows = measure(Path(folder), given.images, given.side, say)
    load = os.getloadavg()[0]
    print("| | s | s of processor time | MiB (RSS) | MiB (PSS) | images |\n|---|---|---|---|---|---|")  # noqa: T201
    for row in rows:
        print(f"| {row.what} | {row.seconds:.0f} | {row.cpu:.0f} | {row.rss:.0f} | {row.pss:.0f} | {row.images:,} |")  # noqa: T201
    print(json.dumps({"load": load, "rows": [row._asdict() for row in rows]}))  # noqa: T201


if __name__ == "__main__":
    main()
