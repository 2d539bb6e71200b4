"""`from app.client import Client` still works, and warns."""

import subprocess
import sys

PROGRAM = "import warnings; warnings.simplefilter('{action}', DeprecationWarning); from app.client import Client"


def test_the_former_name_warns() -> None:
    results = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(action=action)], capture_output=True, text=True, check=False
        )
        for action in ("always", "error")
    ]
    assert [result.returncode for result in results] == [0, 1]
    assert all("use `from acgan_client import Client`" in result.stderr for result in results)
    assert "<string>:1:" in results[0].stderr
