"""The component `s3`: rendered alone, with the others, and in an overlay as the README shows it."""

import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from pydantic import ByteSize, TypeAdapter

from app.settings import AppSettings
from models.synthesis.order import MOST
from tests.deploy.manifests import (
    KUBERNETES,
    Manifest,
    allowed_connections,
    base,
    containers,
    of_kind,
    pods,
    readme_overlay,
    rendered,
    renderer,
    secrets,
    settings_env,
    variables,
)

pytestmark = pytest.mark.skipif(renderer() is None, reason="needs kubectl or kustomize")

USERS = ("acgan-api", "acgan-worker")
OTHERS = ("base", "overlays/gpu", "overlays/keda", "overlays/gpu-keda")
MINE = {
    "ACGAN_STORE": "s3://mine/digits",
    "AWS_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL": "https://s3.example.com",
}


def shared(manifests: list[Manifest]) -> dict[str, str]:
    """The one map of settings."""
    (found,) = [each["data"] for each in of_kind("ConfigMap", manifests) if "ACGAN_STORE" in each["data"]]
    return dict(found)


def overlay(folder: Path, of: str) -> list[Manifest]:
    """A user's own overlay, copied from the README with the path to our files replaced."""
    lines = readme_overlay("with object storage")
    place = os.path.relpath(KUBERNETES, folder.resolve())
    assert lines["components"] == ["github.com/you/acgan/deploy/kubernetes/components/s3"]
    mine = {**lines, "resources": [f"{place}/{of}"], "components": [f"{place}/components/s3"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(mine))
    return rendered(folder)


def test_no_volume_is_shared_and_none_is_missing() -> None:
    made = rendered("overlays/s3")
    assert of_kind("PersistentVolumeClaim", made) == []
    for name in USERS:
        template = pods(made)[name]
        (container,) = containers(template)
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert all(volume.keys() == {"name", "emptyDir"} for volume in volumes.values())
        assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
            "home": "/data",
            "scratch": "/tmp",  # noqa: S108
        }
        assert volumes.keys() == {"home", "scratch"}


@pytest.mark.parametrize("name", USERS)
def test_the_settings_are_valid_and_the_cache_has_enough_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rendered("overlays/s3")
    template = pods(made)[name]
    (container,) = containers(template)
    for variable, value in (shared(made) | variables(container)).items():
        monkeypatch.setenv(variable, value)
    settings = AppSettings()
    assert settings.is_far
    (home,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == "home"]
    room = TypeAdapter(ByteSize).validate_python(home["emptyDir"]["sizeLimit"] + "B")
    kept = settings.store_cache
    if name == "acgan-worker":  # the largest data set, in parts and assembled
        kept = ByteSize(kept + 2 * 10 * MOST * 784)
    assert kept * 1.05 < room


def test_credentials_come_from_the_secret_or_from_a_role() -> None:
    made = rendered("overlays/s3")
    beside = settings_env("components/s3", "secret.example.env")
    assert beside == {"aws-access-key-id": "", "aws-secret-access-key": ""}
    assert secrets(made) == secrets(base()) | beside.keys()
    for name in USERS:
        (container,) = containers(pods(made)[name])
        asked = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "AWS" in each["name"]}
        assert asked == {
            variable: {"name": "acgan", "key": variable.lower().replace("_", "-"), "optional": True}
            for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }


def test_the_network_policies_allow_only_api_and_workers_to_reach_it() -> None:
    made = rendered("overlays/s3")
    # Workers already have egress for MNIST.
    assert allowed_connections(made) - allowed_connections(base()) == {("out", "acgan-api", "*", 443)}
    (policy,) = [each for each in of_kind("NetworkPolicy", made) if each["metadata"]["name"] == "to-object-storage"]
    assert allowed_connections([*of_kind("Deployment", made), policy]) == {("out", name, "*", 443) for name in USERS}


def test_the_rule_in_comments_allows_credentials_from_a_server_on_the_node() -> None:
    text = (KUBERNETES / "components" / "s3" / "network.yaml").read_text()
    (policy,) = yaml.safe_load_all(re.sub(r"^    #(- |  )", r"    \1", text, flags=re.MULTILINE))
    kubernetes_validate.validate(policy, "1.30", strict=True)
    allowed = allowed_connections([*base(), policy]) - allowed_connections(base())
    assert allowed == {("out", "acgan-api", "*", 443), *(("out", name, "*", 80) for name in USERS)}
    addresses = [peer["ipBlock"]["cidr"] for peer in policy["spec"]["egress"][1]["to"]]
    assert addresses == ["169.254.169.254/32", "169.254.170.23/32"]


@pytest.mark.parametrize("of", OTHERS)
def test_a_users_overlay_combines_it_with_any_other_and_names_the_bucket(of: str, tmp_path: Path) -> None:
    made, without = overlay(tmp_path, of), rendered(of)
    assert shared(made) == shared(without) | MINE
    names = {each["metadata"]["name"] for each in of_kind("ConfigMap", made)}
    for name in USERS:
        (container,) = containers(pods(made)[name])
        assert {source["configMapRef"]["name"] for source in container["envFrom"]} <= names
        (other,) = containers(pods(without)[name])
        assert variables(container).items() >= variables(other).items()
        assert container["resources"] == other["resources"]
    assert of_kind("ScaledObject", made) == of_kind("ScaledObject", without)
    assert of_kind("PersistentVolumeClaim", made) == []


def test_it_combines_with_gpus_and_keda() -> None:
    made, without = rendered("overlays/s3-gpu-keda"), rendered("overlays/gpu-keda")
    assert of_kind("ScaledObject", made) == of_kind("ScaledObject", without) != []
    (worker,) = containers(pods(made)["acgan-worker"])
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert shared(made)["ACGAN_STORE"].startswith("s3://")
