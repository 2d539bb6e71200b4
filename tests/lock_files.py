"""`requirements.lock` (the image) and `requirements-dev.lock` (CI): the versions of `constraints.txt`, with hashes.

`make lint` runs this module, which prints each difference. With `--write` it writes both files; this needs uv.
Torch and what only its CUDA builds need are in neither: their files differ between package indexes, and
`constraints.txt` fixes torch's version.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
IMAGE, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
IMAGE_EXTRAS = ("cloud",)
UNLOCKED_EXTRAS = ("tracking",)  # mlflow-skinny excludes the version of cachetools that the locks have
NOT_LOCKED = {"torch", "triton"}
# What torch needs on every platform. It would be in the locks if torch were.
OF_TORCH = ("filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions")
HEADER = "# Written by `python -m tests.lock_files --write`; torch is in constraints.txt.\n"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Name and version of each pinned package."""
    return {normal(name): version for name, version in PIN.findall(text)}


def entries(text: str) -> dict[str, str]:
    """Each package of a lock with its lines: pin, marker, hashes."""
    found = re.split(r"\n(?=[A-Za-z0-9])", text)
    return {normal(match[1]): entry for entry in found if (match := PIN.match(entry)) is not None}


def required(extras: tuple[str, ...] | None) -> set[str]:
    """The names of the packages that pyproject.toml lists; with None, those of all extras that are locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras or locked_extras() for line in groups[extra])]
    names = {normal(match[0]) for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    return names - NOT_LOCKED


def locked_extras() -> tuple[str, ...]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return tuple(extra for extra in groups if extra not in UNLOCKED_EXTRAS)


def differences(constraints: str, image: str, dev: str) -> Iterator[str]:
    """One sentence for each point in which the files disagree."""
    expected = {name: version for name, version in pins(constraints).items() if name not in NOT_LOCKED}
    locked = entries(image) | entries(dev)
    for name, entry in locked.items():
        version = pins(entry)[name]
        if name not in expected and ";" not in entry.splitlines()[0]:  # with a marker, it is for another system
            yield f"{name} is locked, but constraints.txt does not list it"
        elif expected.get(name, version) != version:
            yield f"{name} is {version} in the lock and {expected[name]} in constraints.txt"
        if "--hash=sha256:" not in entry:
            yield f"{name} has no hash"
    yield from (f"{name} is in constraints.txt, but in no lock" for name in sorted(expected.keys() - locked.keys()))
    yield from (f"{name} is missing in {IMAGE.name}" for name in required(IMAGE_EXTRAS) - entries(image).keys())
    yield from (f"{name} is missing in {DEV.name}" for name in required(None) - locked.keys())


def compiled(extras: tuple[str, ...] | None) -> dict[str, str]:
    """Resolve the extras with uv, for all systems and Python 3.11 and newer."""
    with TemporaryDirectory() as folder:
        constraints, without, torch = (Path(folder) / name for name in ("constraints.txt", "without.txt", "torch.in"))
        text = (ROOT / "constraints.txt").read_text()
        constraints.write_text("".join(line for line in text.splitlines(True) if not line.startswith("torch==")))
        without.write_text("".join(f"{name}; python_version < '3'\n" for name in NOT_LOCKED))
        torch.write_text("\n".join(OF_TORCH))
        command = [
            "uv",
            "pip",
            "compile",
            "pyproject.toml",
            str(torch),
            "-c",
            str(constraints),
            "--override",
            str(without),
        ]
        chosen = [word for extra in extras or locked_extras() for word in ("--extra", extra)]
        form = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "-q"]
        done = subprocess.run([*command, *chosen, *form], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return entries(done.stdout)


def write() -> None:
    image = compiled(IMAGE_EXTRAS)
    dev = {name: entry for name, entry in compiled(None).items() if name not in image}
    IMAGE.write_text(HEADER + "\n".join(entry.rstrip() for entry in image.values()) + "\n")
    included = f"-r {IMAGE.name}\n"
    DEV.write_text(HEADER + included + "\n".join(entry.rstrip() for entry in dev.values()) + "\n")


def main() -> int:
    if "--write" in sys.argv:
        write()
    found = list(differences((ROOT / "constraints.txt").read_text(), IMAGE.read_text(), DEV.read_text()))
    sys.stdout.write("\n".join(found or ["Lock files: they agree with constraints.txt"]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
