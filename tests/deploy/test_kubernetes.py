"""The manifests against the schemas of Kubernetes, against each other, and against the programs that they run."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import get_args

import kubernetes_validate
import pytest
import redis
from kubernetes_validate.utils import SchemaNotFoundError
from pydantic import SecretStr

from app.main import create_app
from app.server.embedded_redis import find_server
from app.server.server import GRACE_SECONDS
from app.settings import AppSettings
from tests.deploy.manifests import (
    BUILDS,
    KUBERNETES,
    ROOT,
    Manifest,
    allowed_connections,
    base,
    containers,
    documents,
    files,
    of_kind,
    pods,
    rendered,
    renderer,
    secrets,
    selected,
    settings_env,
    variables,
)
from tests.support.ports import free_port
from worker.settings import WorkerSettings

VERSIONS = ("1.30", "1.37")  # the oldest version that is supported, and the newest whose schemas we have
OTHERS = {
    "HOME",
    "OMP_NUM_THREADS",
    "REDIS_HOST",
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
}  # variables of other programs, and parts of ours
SETTINGS = {f"ACGAN_{name.upper()}" for name in AppSettings.model_fields}
PORTS = {"acgan-api": {"http": 8000}, "acgan-worker": {"metrics": 9108}, "acgan-redis": {"redis": 6379}}

needs_kustomize = pytest.mark.skipif(renderer() is None, reason="needs kubectl or kustomize")


def validate(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", files("base"), ids=lambda path: path.name)
def test_every_file_is_valid_for_kubernetes(path: Path, version: str) -> None:
    for manifest in documents(path):
        validate(manifest, version)


def test_a_planted_mistake_is_found() -> None:
    deployment = of_kind("Deployment", base())[0]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        validate(deployment, VERSIONS[0])


@needs_kustomize
@pytest.mark.parametrize("build", BUILDS)
def test_rendered_manifests_are_valid_for_kubernetes(build: str) -> None:
    made = rendered(build)
    for manifest in made:
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "acgan"
        try:
            for version in VERSIONS:
                validate(manifest, version)
        except SchemaNotFoundError:
            assert manifest["kind"] in ("ScaledObject", "TriggerAuthentication")  # KEDA's own
    for template in pods(made).values():
        assert all(":" in container["image"] for container in containers(template))  # a fixed version
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind("ConfigMap", made)}
    for template in pods(made).values():
        for container in containers(template):
            assert all(source["configMapRef"]["name"] in maps for source in container.get("envFrom", []))


@needs_kustomize
def test_the_gpu_overlay_gives_each_worker_a_gpu_and_the_api_none() -> None:
    templates = pods(rendered("overlays/gpu"))
    (worker,), (api,) = containers(templates["acgan-worker"]), containers(templates["acgan-api"])
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert variables(worker)["ACGAN_DEVICE"] == "cuda"
    assert "nvidia.com/gpu" not in api["resources"]["limits"]
    assert variables(api).get("ACGAN_DEVICE", "auto") == "auto"
    assert "NVIDIA_VISIBLE_DEVICES" not in variables(worker) | variables(api)  # the device plugin chooses the GPU
    (toleration,) = templates["acgan-worker"]["spec"]["tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"
    assert "tolerations" not in templates["acgan-api"]["spec"]
    names = list(variables(worker))
    assert max(map(names.index, ("REDIS_HOST", "REDIS_PASSWORD"))) < names.index("ACGAN_REDIS_URL")  # built from both


@needs_kustomize
def test_with_keda_no_other_object_sets_the_number_of_workers() -> None:
    made = rendered("overlays/keda")
    (worker,) = [each for each in of_kind("Deployment", made) if each["metadata"]["name"] == "acgan-worker"]
    assert "replicas" not in worker["spec"]
    (scaled,) = of_kind("ScaledObject", made)
    assert scaled["spec"]["scaleTargetRef"] == {"name": "acgan-worker"}
    names = [trigger["name"] for trigger in scaled["spec"]["triggers"]]
    assert re.findall(r"\w+", scaled["spec"]["advanced"]["scalingModifiers"]["formula"]) == names
    (service,) = [each for each in of_kind("Service", made) if each["metadata"]["name"] == "acgan-api"]
    address = f"http://acgan-api.acgan.svc:{service['spec']['ports'][0]['port']}/metrics"
    assert {trigger["metadata"]["url"] for trigger in scaled["spec"]["triggers"]} == {address}


# ----------------------------------------------------------------------------
# Permissions and environment of a pod.


@pytest.mark.parametrize("name", PORTS)
def test_a_container_has_no_privileges_and_writes_only_where_it_should(name: str) -> None:
    template = pods(base())[name]
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # a Service called `acgan` would set ACGAN_PORT to an invalid value
    volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
    for container in containers(template):
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"] is True
        assert confined["allowPrivilegeEscalation"] is False
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_the_image_runs_as_the_user_of_the_manifests() -> None:
    assert re.search(r"^USER 10001$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_every_variable_is_a_setting() -> None:
    named = set(settings_env())
    parts = [KUBERNETES / "components" / name for name in ("gpu/worker.yaml", "s3/api.yaml", "s3/worker.yaml")]
    for path in [*files("base"), *parts]:
        for template in pods(documents(path)).values():
            for container in containers(template):
                named |= variables(container).keys()
    assert {name for name in named if not name.startswith("ACGAN_")} == OTHERS
    assert {name for name in named if name.startswith("ACGAN_")} <= SETTINGS
    assert {"ACGAN_REDIS_URL", "ACGAN_STORE", "ACGAN_DEVICE", "ACGAN_API_KEYS"} <= named


@pytest.mark.parametrize("name", ["acgan-api", "acgan-worker"])
def test_the_settings_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = containers(pods(base())[name])
    for variable, value in (settings_env() | variables(container)).items():
        if variable.startswith("ACGAN_"):
            value = value.replace("$(REDIS_PASSWORD)", "abc123").replace("$(REDIS_HOST)", "acgan-redis")
            monkeypatch.setenv(variable, value)
    settings = AppSettings()
    assert settings.redis_url == "redis://:abc123@acgan-redis:6379/0"
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(settings.home), str(settings.store_dir)} <= mounts
    (claim,) = of_kind("PersistentVolumeClaim", base())
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert settings.store_limit < int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30
    if name == "acgan-api":
        assert (settings.host, settings.port) == ("0.0.0.0", PORTS[name]["http"])  # noqa: S104
    else:
        assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", PORTS[name]["metrics"])  # noqa: S104


def test_the_files_contain_no_secret() -> None:
    assert of_kind("Secret", base()) == []
    example = settings_env("base", "secret.example.env")
    assert example == {"redis-password": "", "api-keys": "", "webhook-secret": ""}
    assert secrets(base()) == example.keys()


@pytest.mark.parametrize(("name", "settings"), [("acgan-api", AppSettings), ("acgan-worker", WorkerSettings)])
def test_every_secret_setting_comes_from_the_secret(name: str, settings: type[WorkerSettings]) -> None:
    fields = settings.model_fields.items()
    wanted = {f"ACGAN_{field.upper()}" for field, about in fields if SecretStr in get_args(about.annotation)}
    (container,) = containers(pods(base())[name])
    given = {entry["name"] for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})}
    assert wanted - {"ACGAN_KEY"} <= given  # which is for commands
    assert "ACGAN_WEBHOOK_SECRET" in wanted


# ----------------------------------------------------------------------------
# Connections.


def test_ports_and_probes_exist() -> None:
    routes = set(create_app(AppSettings()).openapi()["paths"])
    for name, template in pods(base()).items():
        (container,) = containers(template)
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS[name]
        assert "livenessProbe" in container
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(probe, {}).get("httpGet")
            if asked is not None:
                assert asked["port"] in PORTS[name]
                assert asked["path"] in (routes if name == "acgan-api" else {"/metrics"})
        scraped = template["metadata"].get("annotations", {}).get("prometheus.io/port")
        assert scraped is None or int(scraped) in PORTS[name].values()
    for service in of_kind("Service", base()):
        for port in service["spec"]["ports"]:
            assert port["port"] == PORTS[service["metadata"]["name"]][port["targetPort"]]


def test_selectors_match_the_intended_pods() -> None:
    templates = pods(base())
    for manifest in base():
        name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
        if manifest["kind"] in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert list(selected(spec["selector"], templates)) == [name], manifest["kind"]
        if manifest["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] in templates
            (scaled,) = [each for each in of_kind("Deployment", base()) if each["metadata"]["name"] == name]
            assert "replicas" not in scaled["spec"]


def test_the_network_policies_allow_only_the_needed_connections() -> None:
    redis_port = PORTS["acgan-redis"]["redis"]
    assert allowed_connections(base()) == {
        ("in", "*", "acgan-api", 8000),
        ("in", "*", "acgan-worker", 9108),
        *(("in", each, "acgan-redis", redis_port) for each in ("acgan-api", "acgan-worker")),
        *(("out", each, "acgan-redis", redis_port) for each in ("acgan-api", "acgan-worker")),
        *(("out", each, "*", 53) for each in ("acgan-api", "acgan-worker")),
        ("out", "acgan-worker", "*", 443),
    }
    closed = [policy["spec"] for policy in of_kind("NetworkPolicy", base()) if policy["spec"]["podSelector"] == {}]
    assert closed == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]


def test_a_rolling_update_drops_no_request() -> None:
    (api,) = [each for each in of_kind("Deployment", base()) if each["metadata"]["name"] == "acgan-api"]
    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = api["spec"]["template"]["spec"]
    seconds = int(variables(pod["containers"][0])["ACGAN_DRAIN_SECONDS"])
    readiness = pod["containers"][0]["readinessProbe"]
    assert seconds > readiness["periodSeconds"] * readiness["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] > seconds + GRACE_SECONDS


def test_a_replica_that_is_cut_off_from_redis_stays_ready() -> None:
    """It draws digits. Until its request to Redis times out, /readyz takes up to three seconds (docs/operations.md)."""
    (api,) = [each for each in of_kind("Deployment", base()) if each["metadata"]["name"] == "acgan-api"]
    assert api["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["timeoutSeconds"] > 3


# ----------------------------------------------------------------------------
# Run for real.


def test_a_real_server_accepts_the_configuration_of_redis(tmp_path: Path) -> None:
    """Unchanged, except for its data folder, which does not exist before `dir` is read."""
    port, password, configuration = free_port(), tmp_path / "password.conf", tmp_path / "valkey.conf"
    password.write_text('requirepass "abc123"\n')
    message = (KUBERNETES / "base" / "valkey.conf").read_text()
    assert message.count("dir /data\n") == 1
    configuration.write_text(message.replace("dir /data\n", f"dir {tmp_path}\n"))
    here = ["--include", str(password), "--port", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([find_server(), str(configuration), *here], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, password="abc123", decode_responses=True) as client:  # noqa: S106
            until_answers(client, server)
            wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
            limit = int(client.config_get("maxmemory")["maxmemory"])
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.kill()
        server.wait()
    (container,) = containers(pods(base())["acgan-redis"])
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert limit * 2 <= 2**30


def until_answers(client: "redis.Redis", server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.05)
    raise AssertionError("it does not start")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_the_example_creates_a_valid_secret(tmp_path: Path) -> None:
    filled = (KUBERNETES / "base" / "secret.example.env").read_text().replace("redis-password=", "redis-password=abc")
    (tmp_path / "secret.env").write_text(filled)
    command = ["kubectl", "create", "secret", "generic", "acgan", "--dry-run=client", "-o", "name"]
    done = subprocess.run(
        [*command, f"--from-env-file={tmp_path / 'secret.env'}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "secret/acgan\n"), done.stderr
