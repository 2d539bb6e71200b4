"""The synchronous client is the asynchronous one without `async` and `await`."""

import re
import subprocess
import sys
from pathlib import Path

from acgan_client import AsyncClient, Client

FOLDER = Path(__file__).parents[2] / "client"
MAKE_SYNC = FOLDER / "make_sync.py"


def test_the_generated_client_is_current() -> None:
    result = subprocess.run([sys.executable, MAKE_SYNC, "--check"], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0), "run `python client/make_sync.py`"


def test_both_forms_offer_the_same_calls() -> None:
    calls = [{name for name in dir(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert calls[0] == calls[1]


def test_the_table_of_the_readme_has_every_method() -> None:
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {name for name in dir(Client) if callable(getattr(Client, name)) and not name.startswith("_")}
