"""Reads the metrics of a worker from its port."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def read_figures(port: int) -> dict[str, float]:
    """Return values by name and label values, in the order of the labels' names: `name{loss,generator,test}`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.name + labelled(sample.labels): sample.value for sample in samples}


def labelled(labels: dict[str, str]) -> str:
    return f"{{{','.join(labels[name] for name in sorted(labels))}}}" if labels else ""
