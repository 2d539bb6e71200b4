"""The dashboard and the alerts use only existing metrics, labels and, if they can be known, label values."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.security.host_names import AllowedHosts, read_names
from models.host_names import read_host
from tests.deploy.manifests import KUBERNETES, ROOT, documents, settings_env
from worker.observability import metrics as worker_metrics

DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
JOBS = set(re.findall(r"- job_name: (\S+)", (ROOT / "docs" / "operations.md").read_text()))

NAME = re.compile(r"\b(?:acgan|process|python)_\w+|\bup\b")
MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without) \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job"}  # labels that Prometheus adds


class Figures:
    """The exported metrics: names of samples, their labels, and the values of those labels."""

    def __init__(self) -> None:
        self.labels: dict[str, set[str]] = {"up": set()}
        self.values: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, families: Iterable[Metric]) -> None:
        for family in families:
            for sample in family.samples:
                self.labels.setdefault(sample.name, set()).update(sample.labels)
                for label, value in sample.labels.items():
                    self.values[sample.name, label].add(value)


@pytest.fixture
def figures(client: TestClient) -> Figures:
    """The metrics of an API after a few requests, and of a worker's registry."""
    client.get("/digits/7")
    client.get("/digits/12")
    found = Figures()
    found.add(text_string_to_metric_families(client.get("/metrics").text))
    for metric in (worker_metrics.LOSS, worker_metrics.QUALITY):  # which have children after the first epoch
        labels = metric._labelnames
        found.labels[metric._name] = set(labels)
    found.values["acgan_worker_loss", "split"] = {"train", "test"}
    found.values["acgan_worker_loss", "loss"] = {"loss", "generation_loss", "auxiliary_loss"}
    found.add(worker_metrics.REGISTRY.collect())
    return found


def in_dashboard() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def in_scaling() -> Iterator[str]:
    for manifest in documents(KUBERNETES / "components" / "keda" / "scaledobject.yaml"):
        yield from (trigger["metadata"]["valueLocation"] for trigger in manifest["spec"]["triggers"])


EXPRESSIONS = sorted({*in_dashboard(), *(rule["expr"] for rule in alerts()), *in_scaling()})


def test_the_scaler_uses_a_key_that_the_secret_has() -> None:
    folder = KUBERNETES / "components" / "keda"
    (authentication,) = documents(folder / "triggerauthentication.yaml")
    (secret,) = authentication["spec"]["secretTargetRef"]
    assert (secret["parameter"], secret["name"]) == ("token", "acgan")
    assert f"{secret['key']}=\n" in (folder / "secret.example.env").read_text()
    for manifest in documents(folder / "scaledobject.yaml"):
        for trigger in manifest["spec"]["triggers"]:
            assert trigger["metadata"]["authMode"] == "bearer"
            assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
            host = read_host(urlsplit(trigger["metadata"]["url"]).netloc)
            assert host is not None
            assert host in AllowedHosts(read_names(settings_env()["ACGAN_ALLOWED_HOSTS"]))


@pytest.fixture
def routes(client: TestClient) -> set[str]:
    app: Any = client.app
    return {*app.openapi()["paths"], "unmatched"}


def selectors(expression: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, label, operator and value of each matcher."""
    for name, inside in re.findall(r'(\w+)\{((?:[^}"]|"[^"]*")*)\}', expression):
        for label, operator, value in MATCHER.findall(inside):
            yield name, label, operator, value


def test_expressions_are_found() -> None:
    assert len(EXPRESSIONS) > 50
    assert len(set(in_scaling())) == 2


def test_every_metric_in_an_expression_is_exported(figures: Figures) -> None:
    asked = {name for expression in EXPRESSIONS for name in NAME.findall(re.sub(r'"[^"]*"', '""', expression))}
    assert asked - figures.labels.keys() == set()


def test_every_label_in_an_expression_exists(figures: Figures, routes: set[str]) -> None:
    for expression in EXPRESSIONS:
        names = NAME.findall(re.sub(r'"[^"]*"', '""', expression))
        there = OF_PROMETHEUS.union(*(figures.labels[name] for name in names))
        for label in chain.from_iterable(re.split(r",\s*", inside) for inside in GROUPING.findall(expression)):
            assert label in there, expression
        for name, label, operator, value in selectors(expression):
            if label == "job":
                assert value in JOBS
                continue
            assert label in figures.labels[name], expression
            if label == "route":
                assert value in routes, expression
            elif (name, label) != ("acgan_http_requests_total", "status"):  # any status can occur
                known = figures.values[name, label]
                wanted = value.split("|") if operator == "=~" else [value]
                assert set(wanted) <= known, expression


def failed_loads(client: TestClient) -> dict[str, float]:
    """The number of generators that were not loaded, by outcome."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    loads = [sample for sample in samples if sample.name == "acgan_generator_loads_total"]
    return {each.labels["outcome"]: each.value for each in loads if each.labels["outcome"] != "ok"}


def test_no_alert_is_raised_by_a_request_with_an_id_that_does_not_exist(client: TestClient) -> None:
    before = failed_loads(client)
    assert client.get("/digits/7?checkpoint=20260101-000000-ffffff-e001").status_code == 404
    counted = {outcome for outcome, loads in failed_loads(client).items() if loads > before[outcome]}
    matchers = [each for rule in alerts() for each in selectors(rule["expr"])]
    alerting = {value for name, _, _, value in matchers if name == "acgan_generator_loads_total"}
    assert counted == {"missing"}
    assert {value for each in alerting for value in each.split("|")} == before.keys() - counted - {"refused"}


def test_every_alert_links_to_instructions() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "action"} == rule["annotations"].keys()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
