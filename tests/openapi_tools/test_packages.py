"""The npm packages that check the OpenAPI document and generate a client have fixed versions, from any registry."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HERE / name).read_text())
    return document


def test_versions_are_exact_and_those_of_the_lock_file() -> None:
    wanted, locked = read("package.json")["devDependencies"], read("package-lock.json")["packages"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_packages_have_checksums_and_name_no_registry() -> None:
    packages = {name: package for name, package in read("package-lock.json")["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
