"""Temporary files of a test run: in one folder, which is removed when the run ends.

Tests kill processes, and a killed process leaves its temporary files. Without this a run leaves gigabytes in the
system's folder, and after some runs its disk is full. A failed test's `tmp_path` stays where pytest keeps it.
"""

import os
import shutil
import tempfile
from multiprocessing.util import Finalize

import pytest

LAST = -1000  # after multiprocessing has removed its own folders in this one


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a process of xdist: it inherits the folder's name
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="acgan-tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    Finalize(None, shutil.rmtree, args=[folder], kwargs={"ignore_errors": True}, exitpriority=LAST)
