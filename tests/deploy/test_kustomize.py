"""Overlays as users write them: another namespace and a name prefix, the Prometheus operator, an Ingress."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.security.host_names import AllowedHosts, read_names
from app.settings import AppSettings
from models.host_names import read_host
from tests.deploy.manifests import (
    KUBERNETES,
    ROOT,
    Manifest,
    containers,
    documents,
    of_kind,
    pods,
    readme_overlay,
    rendered,
    renderer,
    variables,
)

pytestmark = pytest.mark.skipif(renderer() is None, reason="needs kubectl or kustomize")

FULL = ("overlays/gpu-keda", ["components/monitoring"])


def write(folder: Path, resources: list[str], components: list[str], **fields: Any) -> Path:
    """A kustomization of a user. Paths that do not begin with a dot are relative to our folder."""
    place = os.path.relpath(KUBERNETES, folder.resolve())
    given = {"resources": resources, "components": components}
    paths = {name: [p if p.startswith(".") else f"{place}/{p}" for p in value] for name, value in given.items()}
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**paths, **fields}))
    return folder


def in_another_namespace(folder: Path, prefix: str = "team-") -> list[Manifest]:
    """As deploy/README.md describes it: one kustomization renames, another one around it adds the component."""
    resource, components = FULL
    write(folder / "named", [resource], components, namespace="digits", namePrefix=prefix)
    return rendered(write(folder / "all", ["../named"], ["components/renamed"]))


def named(kind: str, name: str, manifests: list[Manifest]) -> Manifest:
    (found,) = [manifest for manifest in of_kind(kind, manifests) if manifest["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("prefix", ["team-", ""])
def test_every_address_has_the_new_namespace_and_prefix(prefix: str, tmp_path: Path) -> None:
    made = in_another_namespace(tmp_path, prefix)
    assert {manifest["metadata"].get("namespace", "digits") for manifest in made} == {"digits"}
    host = f"{prefix}acgan-api.digits"
    (settings,) = [each["data"] for each in of_kind("ConfigMap", made) if "ACGAN_STORE" in each["data"]]
    names = settings["ACGAN_ALLOWED_HOSTS"].split()
    assert names == [f"{prefix}acgan-api", host, "*.svc", "*.svc.cluster.local"]
    for name in ("acgan-api", "acgan-worker"):
        (container,) = containers(pods(made)[f"{prefix}{name}"])
        assert named("Service", variables(container)["REDIS_HOST"], made)["spec"]["ports"][0]["port"] == 6379
    (scaled,) = of_kind("ScaledObject", made)
    assert named("Deployment", scaled["spec"]["scaleTargetRef"]["name"], made)
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["url"] == f"http://{host}.svc:8000/metrics"
        assert named("TriggerAuthentication", trigger["authenticationRef"]["name"], made)


def test_no_value_contains_an_old_address(tmp_path: Path) -> None:
    """The Secret is still called `acgan`: users create it themselves."""
    names = {manifest["metadata"]["name"] for manifest in rendered("overlays/gpu-keda")}
    old = {name for name in names if name.startswith("acgan-")}

    def values(node: Any) -> list[str]:
        if isinstance(node, dict | list):
            return [text for item in (node.values() if isinstance(node, dict) else node) for text in values(item)]
        return [node] if isinstance(node, str) else []

    jobs = {"acgan-api", "acgan-workers"}  # Prometheus' names of jobs are not addresses
    for manifest in in_another_namespace(tmp_path):
        if manifest["kind"] == "PrometheusRule":
            continue
        found = [text for text in values(manifest) if text.split(".")[0].split(":")[0] in old]
        assert set(found) <= jobs, manifest["kind"]


def test_both_deployments_read_mnist_from_the_volume_of_the_example(tmp_path: Path) -> None:
    lines = readme_overlay("kustomization.yaml, with MNIST on a volume")
    assert lines.pop("resources") == ["github.com/you/acgan/deploy/kubernetes/overlays/gpu"]
    made = rendered(write(tmp_path, ["overlays/gpu"], [], **lines))
    (settings,) = [each["data"] for each in of_kind("ConfigMap", made) if "ACGAN_STORE" in each["data"]]
    for name in ("acgan-api", "acgan-worker"):
        template = pods(made)[name]
        (mount,) = [each for each in containers(template)[0]["volumeMounts"] if each["name"] == "mnist"]
        assert (mount["mountPath"], mount["readOnly"]) == (settings["ACGAN_DATA_DIR"], True)
        (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == "mnist"]
        assert volume["persistentVolumeClaim"] == {"claimName": "mnist", "readOnly": True}


def test_without_the_component_addresses_would_be_wrong(tmp_path: Path) -> None:
    made = rendered(write(tmp_path, ["base"], [], namespace="digits", namePrefix="team-"))
    (container,) = containers(pods(made)["team-acgan-api"])
    assert variables(container)["REDIS_HOST"] == "acgan-redis"


def test_the_api_accepts_the_addresses_of_its_service() -> None:
    (settings,) = [each["data"] for each in of_kind("ConfigMap", rendered("base")) if "ACGAN_STORE" in each["data"]]
    allowed = AllowedHosts(read_names(settings["ACGAN_ALLOWED_HOSTS"]))
    for name in ("acgan-api", "acgan-api.acgan", "acgan-api.acgan.svc", "acgan-api.acgan.svc.cluster.local"):
        host = read_host(f"{name}:8000")
        assert host is not None
        assert host in allowed


def test_monitors_select_our_ports_and_name_the_jobs_of_the_alerts(tmp_path: Path) -> None:
    made = rendered(write(tmp_path, ["base"], ["components/monitoring"]))
    (api,), (workers,) = of_kind("ServiceMonitor", made), of_kind("PodMonitor", made)
    (service,) = [
        each
        for each in of_kind("Service", made)
        if api["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    (endpoint,), (pod_endpoint,) = api["spec"]["endpoints"], workers["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    (worker,) = [
        template
        for template in pods(made).values()
        if workers["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ]
    assert pod_endpoint["port"] in {port["name"] for port in containers(worker)[0]["ports"]}
    jobs = {each["relabelings"][0]["replacement"]: each["path"] for each in (endpoint, pod_endpoint)}
    assert jobs == {"acgan-api": "/metrics", "acgan-workers": "/metrics"}
    key = endpoint["authorization"]["credentials"]["key"]
    assert f"{key}=\n" in (KUBERNETES / "components" / "monitoring" / "secret.example.env").read_text()


def test_the_operators_rules_are_the_alerts() -> None:
    (rule,) = documents(KUBERNETES / "components" / "monitoring" / "rules.yaml")
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())


def test_the_ingress_keeps_the_prefix_that_the_api_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rendered("overlays/ingress")
    (ingress,) = of_kind("Ingress", made)
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    (settings,) = [each["data"] for each in of_kind("ConfigMap", made) if "ACGAN_STORE" in each["data"]]
    assert (path["path"], path["pathType"]) == (settings["ACGAN_ROOT_PATH"], "Prefix")
    backend = path["backend"]["service"]
    service = named("Service", backend["name"], made)
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    host = read_host(urlsplit(f"https://{rule['host']}").netloc)
    assert host is not None
    assert host in AllowedHosts(read_names(settings["ACGAN_ALLOWED_HOSTS"]))
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) << 20 == AppSettings().upload_limit
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert AppSettings().forwarded_allow_ips == "10.0.0.0/8"
    assert AppSettings().root_path == path["path"]
