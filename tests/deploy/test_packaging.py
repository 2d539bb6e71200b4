"""The package's metadata, its lock files, and the choice of a build of torch in the Makefile."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

import acgan_client
from tests.deploy.manifests import ROOT
from tests.lock_files import DEV, IMAGE, differences, entries, pins

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
IMAGE_LOCK, DEV_LOCK = IMAGE.read_text(), DEV.read_text()
DEV_LOCK_ENTRIES = entries(DEV_LOCK)


def test_the_locks_have_the_versions_of_the_constraints() -> None:
    assert list(differences(CONSTRAINTS, IMAGE_LOCK, DEV_LOCK)) == []


def test_each_difference_is_found() -> None:
    fastapi, pillow = pins(CONSTRAINTS)["fastapi"], pins(CONSTRAINTS)["pillow"]
    image = IMAGE_LOCK.replace(f"pillow=={pillow}", "pillow==1.0").replace("redis==", "unknown==")
    image = re.sub(r"(rich==\S+)( \\\n +--hash=\S+)+", r"\1", image)
    found = list(differences(CONSTRAINTS.replace(f"fastapi=={fastapi}\n", ""), image, DEV_LOCK))
    assert "fastapi is locked, but constraints.txt does not list it" in found
    assert f"pillow is 1.0 in the lock and {pillow} in constraints.txt" in found
    assert "rich has no hash" in found
    assert "unknown is locked, but constraints.txt does not list it" in found
    assert "redis is in constraints.txt, but in no lock" in found
    assert "redis is missing in requirements.lock" in found
    assert len(found) == 7  # redis is missing in both locks


def test_no_file_names_a_package_index() -> None:
    for text in (CONSTRAINTS, IMAGE_LOCK, DEV_LOCK, (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()):
        assert not re.search(r"(index-url|find-links) +(https?:|/)", text)


def test_the_metadata_are_complete() -> None:
    assert PROJECT["license"] == "MIT"
    assert {"Source", "Documentation", "Changelog", "Issues"} <= PROJECT["urls"].keys()
    assert PROJECT["authors"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert PROJECT["version"] == acgan_client.__version__  # both distributions contain the client
    image = (ROOT / "Dockerfile").read_text()
    assert f"ARG VERSION={PROJECT['version']}\n" in image
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", image))
    assert labels == {"title", "description", "licenses", "version", "revision"}


def test_the_image_contains_no_sources_and_no_tools_to_build() -> None:
    final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    copied = re.findall(r"^COPY (.*)$", final, re.MULTILINE)
    assert copied == [
        "--from=packages /opt/packages /opt/packages",
        "--from=extras /opt/extras /opt/extras",
        "--from=acgan /opt/acgan /opt/acgan",
        "deploy/healthcheck /usr/local/bin/healthcheck",
    ]
    assert "pip" not in re.sub(r"#.*", "", final)


def extras_program(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "deploy" / "extras.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_extra_that_does_not_exist_ends_the_build_of_the_image() -> None:
    done = extras_program("tracing, parkett", "acgan.whl", sys.executable)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "EXTRAS: there is no extra parkett; there are cloud, dev, keras, local, onnx, parquet,"
    )


def test_extras_of_the_image_are_locked_with_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "deploy"))
    part = import_module("extras").part
    chosen = part(DEV_LOCK, {"opentelemetry_sdk", "PyArrow"})
    assert pins(chosen).items() <= pins(CONSTRAINTS).items()
    assert set(pins(chosen)) == {"opentelemetry-sdk", "pyarrow"}
    assert chosen.count("--hash=sha256:") == sum(DEV_LOCK_ENTRIES[name].count("--hash=") for name in pins(chosen))
    with pytest.raises(SystemExit, match="mlflow-skinny cannot be added: requirements-dev"):
        part(DEV_LOCK, {"mlflow-skinny"})


@pytest.mark.parametrize(
    ("machine", "command"),
    [
        (["TORCH_INDEX=chosen", "UV=uv", "GPU="], "pip install --no-deps --index-url chosen -c constraints.txt torch"),
        (["UV=uv", "GPU="], "uv pip install --python .venv/bin/python --torch-backend=auto -c constraints.txt torch"),
        (["UV=", "GPU=", "SYSTEM=Linux x86_64"], "$CUDA_WARNING"),
        (["UV=", "GPU=/dev/nvidiactl", "SYSTEM=Linux x86_64"], None),
        (["UV=", "GPU=", "SYSTEM=Darwin arm64"], None),
    ],
    ids=["an index", "uv", "neither, without a GPU", "a GPU", "macOS"],
)
def test_make_chooses_a_build_of_torch_or_warns_before_the_download(machine: list[str], command: str | None) -> None:
    make = ["make", "--dry-run", "--always-make", ".venv/.local", "TORCH_INDEX=", *machine]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    install = next(number for number, line in enumerate(lines) if "-e '.[local,keras]'" in line)
    torch = [line for line in lines[:install] if "torch" in line]
    assert len(torch) == (0 if command is None else 1)
    assert command is None or command in torch[0]
    assert "--quiet" not in lines[install]


def test_make_knows_a_variable_before_a_rule_requires_it() -> None:
    """make reads what a rule requires when it reads the rule, and takes a variable of a later line for empty."""
    known, required = set[str](), set[str]()
    for line in (ROOT / "Makefile").read_text().splitlines():
        if assigned := re.match(r"([A-Z_]+) *[:?]?=", line):
            known.add(assigned[1])
        elif rule := re.match(r"[\w./ -]+:(.*)", line):
            names = set(re.findall(r"\$\(([A-Z_]+)\)", rule[1]))
            assert names <= known, line
            required |= names
    assert {"NPM", "LONG"} <= required
