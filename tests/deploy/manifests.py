"""The manifests of deploy/kubernetes, file by file and, if kubectl or kustomize is installed, rendered."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BUILDS = ("base", *(f"overlays/{name}" for name in ("gpu", "keda", "gpu-keda", "s3", "s3-gpu-keda", "ingress")))
PARTS = ("kustomization.yaml",)

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def files(folder: str) -> list[Path]:
    """The files that kustomize reads, without kustomization.yaml itself."""
    return [path for path in sorted((KUBERNETES / folder).glob("*.yaml")) if path.name not in PARTS]


def base() -> list[Manifest]:
    return [document for path in files("base") for document in documents(path)]


def of_kind(kind: str, manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates, by the name of the object that creates them."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in manifests
        if "template" in manifest.get("spec", {})
    }


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def variables(container: Manifest) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}


def settings_env(folder: str = "base", name: str = "settings.env") -> dict[str, str]:
    """The settings that API and workers share."""
    lines = (KUBERNETES / folder / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def secrets(manifests: list[Manifest]) -> set[str]:
    """The keys of the secret that pods reference."""
    return {
        entry["valueFrom"]["secretKeyRef"]["key"]
        for template in pods(manifests).values()
        for container in containers(template)
        for entry in container["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    }


def renderer() -> list[str] | None:
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return ["kustomize", "build"] if shutil.which("kustomize") else None


def readme_overlay(heading: str) -> dict[str, Any]:
    """The kustomization in deploy/README.md whose first line is this comment."""
    text = (ROOT / "deploy" / "README.md").read_text()
    (found,) = re.findall(rf"^ +# {re.escape(heading)}\n(.*?)\n\n", text, re.DOTALL | re.MULTILINE)
    return dict(yaml.safe_load(found))


def rendered(build: str | Path) -> list[Manifest]:
    """One of our folders, or a folder elsewhere, rendered by kustomize."""
    command = renderer()
    assert command is not None
    done = subprocess.run([*command, str(KUBERNETES / build)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning about deprecated fields
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def selected(selector: Manifest, templates: dict[str, Manifest]) -> Iterator[str]:
    """The names of the workloads whose pods a selector matches, by labels and expressions."""
    for name, template in templates.items():
        labels = template["metadata"]["labels"]
        wanted = selector.get("matchLabels", {}) | {k: v for k, v in selector.items() if isinstance(v, str)}
        expressions = selector.get("matchExpressions", [])
        assert all(expression["operator"] == "In" for expression in expressions)
        if wanted.items() <= labels.items() and all(labels.get(each["key"]) in each["values"] for each in expressions):
            yield name


Way = tuple[str, str, str, int]


def allowed_connections(manifests: list[Manifest]) -> set[Way]:
    """The connections that the policies allow. `*` is any peer that is not one of our pods."""
    templates, found = pods(manifests), set[Way]()
    for policy in of_kind("NetworkPolicy", manifests):
        spec = policy["spec"]
        for name in selected(spec["podSelector"], templates):
            for direction, rules, peers in (("in", "ingress", "from"), ("out", "egress", "to")):
                for rule in spec.get(rules, []):
                    chosen = [peer["podSelector"] for peer in rule.get(peers, []) if "podSelector" in peer]
                    others = [other for selector in chosen for other in selected(selector, templates)] or ["*"]
                    ends = [(other, name) if direction == "in" else (name, other) for other in others]
                    found |= {(direction, *pair, port["port"]) for pair in ends for port in rule["ports"]}
    return found
