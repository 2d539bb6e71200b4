"""The synchronous client is the asynchronous one without `async` and `await`."""

import subprocess
import sys
from pathlib import Path

from acgan_client import AsyncClient, Client

MAKE_SYNC = Path(__file__).parents[2] / "client" / "make_sync.py"


def test_the_generated_client_is_current() -> None:
    result = subprocess.run([sys.executable, MAKE_SYNC, "--check"], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("", 0), "run `python client/make_sync.py`"


def test_both_forms_offer_the_same_calls() -> None:
    calls = [{name for name in dir(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert calls[0] == calls[1]
