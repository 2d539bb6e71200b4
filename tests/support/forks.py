"""Processes that start with the libraries loaded, which otherwise takes most of the time of a short process.

A server process loads the libraries and nothing of this package, and is forked for each process. A forked process loads
this package itself, and has its own memory, environment, folder, output and exit code.
"""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = ["h5py", "httpx2", "numpy", "PIL.Image", "pydantic_settings", "rich.console", "safetensors", "torch"]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(LIBRARIES)


def run_acgan(
    *words: str, environment: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an `acgan` command to its end, as `subprocess.run` does; by default in this environment and folder."""
    where = environment or dict(os.environ), folder or Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [Path(temporary) / "stdout", Path(temporary) / "stderr"]
        process = FORKS.Process(target=_command, args=(words, *where, outputs))
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(["acgan", *words], process.exitcode, *(file.read_text() for file in outputs))


def _command(words: tuple[str, ...], environment: dict[str, str], folder: Path, outputs: list[Path]) -> None:
    for descriptor, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["acgan", *words]
    from app.cli import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing runs none of them
