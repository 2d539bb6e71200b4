"""Clients that other programs generate from the OpenAPI document of a running service draw digits from it."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from app.security.api_keys import make_key
from app.settings import AppSettings
from tests.conftest import RunningRedis, set_environment
from tests.support.serving import serving

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".openapi-tools" / "node_modules"
COMPILER = "--strict --target es2022 --module nodenext --lib es2022,dom --outDir ."
SEVENS = "/digits/7?n=7&seed=4"

PROGRAM = """
import base64
import json
import sys

from generated import AuthenticatedClient
from generated.api.digits import draw_digits
from generated.api.jobs import get_job
from generated.api.training import cancel_job, start_run
from generated.models import JobNotFoundProblem, JobNotFoundProblemType, JobView, TrainingOrder, TrainingOrderRecipe
from generated.types import File

with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2]) as client:
    drawn = draw_digits.sync_detailed(7, client=client, n=7, seed=4)
    assert isinstance(drawn.parsed, File)
    order = TrainingOrder(epochs=2, dataset="printed", recipe=TrainingOrderRecipe.SEED)
    started = start_run.sync_detailed(client=client, body=order)
    assert isinstance(started.parsed, JobView)
    cancelled = cancel_job.sync(started.parsed.id, client=client)
    assert isinstance(cancelled, JobView)
    nothing = get_job.sync("nothing", client=client)
    assert isinstance(nothing, JobNotFoundProblem)
    no_such_job = nothing.type_ is JobNotFoundProblemType.JOB_NOT_FOUND
    results = {
        "png": base64.b64encode(drawn.parsed.payload.read()).decode(),
        "seed": drawn.headers["X-Seed"],
        "path": started.headers["Location"],
        "status": cancelled.status.value,
        "nothing": "no such job" if no_such_job else "another response",
    }
print(json.dumps(results))
"""

pytestmark = pytest.mark.integrations


class Service(NamedTuple):
    """A running service and the key that it requires."""

    address: str
    key: str

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.address + path, headers={"X-API-Key": self.key}).raise_for_status()


@pytest.fixture(scope="module")
def service(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the generator of the package, which requires a key for every request."""
    key, entry = make_key("ana")
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("service") / "home")
        settings = AppSettings(redis_url=shared_redis.url, pretrained=True, api_keys=SecretStr(str(entry)))
        with serving(settings) as address:
            yield Service(address, key)


@pytest.fixture
def document(service: Service, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(service.get("/openapi.json").content)
    return path


def run(*words: str | Path, folder: Path, **environment: str) -> str:
    """Run a program in a folder and return its output. Warnings of its own are not errors."""
    result = subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def check(service: Service, results: dict[str, Any]) -> None:
    """Check what a program printed: the PNG of seven sevens, the path of its run, and the errors that it recognised."""
    png = base64.b64decode(results["png"])
    assert png == service.get(SEVENS).content
    picture = np.asarray(Image.open(io.BytesIO(png)))
    assert picture.shape == (28, 7 * 28)
    assert all(picture[:, 28 * at : 28 * (at + 1)].max() > 200 for at in range(7))
    job = service.get(results["path"]).json()
    assert job["status"] == results["status"] == "cancelled"
    assert job["config"]["dataset"] == "printed"
    assert (results["seed"], results["nothing"]) == ("4", "no such job")


def test_a_generated_typescript_client_draws_sevens(service: Service, document: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH")
    folder = document.parent
    for name in ("digits.ts", "mistakes.ts", "run.js"):
        shutil.copy(HERE / "typescript_client" / name, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(TOOLS)
    programs = folder / "node_modules" / ".bin"
    run(programs / "openapi-typescript", document, "-o", "schema.ts", "--default-non-nullable=false", folder=folder)
    run(programs / "tsc", *COMPILER.split(), "digits.ts", "mistakes.ts", folder=folder)
    check(service, json.loads(run("node", "run.js", *service, folder=folder)))


def test_a_generated_python_client_draws_sevens(service: Service, document: Path) -> None:
    folder = document.parent
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = f"--path {document} --output-path generated --meta none --fail-on-warning --config".split()
    output = run(generator, "generate", *options, HERE / "openapi_python_client.yaml", folder=folder)
    assert "warning" not in output.lower()
    (folder / "program.py").write_text(PROGRAM)
    run(sys.executable, "-m", "mypy", "--strict", "program.py", folder=folder)
    check(service, json.loads(run(sys.executable, "program.py", *service, folder=folder)))
