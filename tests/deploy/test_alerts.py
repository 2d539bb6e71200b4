"""What raises the alerts and what does not: Prometheus' own program evaluates them over simulated series."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.test_monitoring import ALERTS

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")

MINUTES = 30


class Case(NamedTuple):
    what: str
    alert: str
    series: dict[str, str]  # values each minute, in promtool's notation
    fires: bool


def jobs(queued: int, running: int, workers: int) -> dict[str, str]:
    """The metrics of an API whose workers Prometheus does not reach."""
    return {
        'acgan_queue_depth{job="acgan-api",instance="a",runs_on="any"}': f"{queued}x{MINUTES}",
        'acgan_queue_depth{job="acgan-api",instance="a",runs_on="gpu"}': f"0x{MINUTES}",
        'acgan_jobs{job="acgan-api",instance="a",status="queued"}': f"{queued}x{MINUTES}",
        'acgan_jobs{job="acgan-api",instance="a",status="running"}': f"{running}x{MINUTES}",
        'acgan_workers{job="acgan-api",instance="a",kind="cpu"}': f"{workers}x{MINUTES}",
        'acgan_workers{job="acgan-api",instance="a",kind="gpu"}': f"0x{MINUTES}",
    }


def serving(**replicas: Iterable[int]) -> dict[str, str]:
    """The metrics of replicas, each with the epoch that it serves in each minute; a single one for all minutes."""
    series: dict[str, str] = {}
    for replica, epochs in replicas.items():
        served = list(epochs)
        served = served * MINUTES if len(served) == 1 else served
        for epoch in set(served):
            values = " ".join("1" if each == epoch else "stale" for each in served)
            series[f'acgan_serving_info{{job="acgan-api",instance="{replica}",checkpoint="e{epoch:03}"}}'] = values
    return series


def waiting(values: str) -> dict[str, str]:
    return {'acgan_worker_waits_for_storage{job="acgan-workers",instance="w"}': values}


NOBODY, DISAGREE, WAITS = "AcganJobsWaitForNobody", "AcganReplicasDisagree", "AcganWaitsForStorage"
EACH_MINUTE, BETWEEN = range(MINUTES), [0, *range(MINUTES - 1)]  # the second replica is asked before the first
CASES = [
    Case("a job waits while another one runs", NOBODY, jobs(queued=1, running=1, workers=1), fires=False),
    Case("no job waits", NOBODY, jobs(queued=0, running=0, workers=0), fires=False),
    Case("the last job runs", NOBODY, jobs(queued=0, running=1, workers=1), fires=False),
    Case("no worker takes a job", NOBODY, jobs(queued=1, running=0, workers=1), fires=True),
    Case("all workers died during a run", NOBODY, jobs(queued=1, running=1, workers=0), fires=True),
    Case("all workers died during the last run", NOBODY, jobs(queued=0, running=1, workers=0), fires=True),
    Case("both replicas follow a fast run", DISAGREE, serving(a=EACH_MINUTE, b=BETWEEN), fires=False),
    Case("both serve the same", DISAGREE, serving(a=[7], b=[7]), fires=False),
    Case("one replica is stuck during a fast run", DISAGREE, serving(a=EACH_MINUTE, b=[0]), fires=True),
    Case("one replica is stuck, and no run follows", DISAGREE, serving(a=[7], b=[6]), fires=True),
    Case("a job waits for the store", WAITS, waiting(f"1x{MINUTES}"), fires=True),
    Case("a job waited for a moment", WAITS, waiting(f"0x{MINUTES - 3} 1 0 0"), fires=False),
    Case("no job waits for the store", WAITS, waiting(f"0x{MINUTES}"), fires=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_an_alert_is_raised_when_it_must_be(case: Case, tmp_path: Path) -> None:
    fired = {
        "expr": f'max_over_time(count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})[{MINUTES}m:1m])',
        "eval_time": f"{MINUTES - 1}m",
        "exp_samples": [{"labels": "{}", "value": 1}] if case.fires else [],
    }
    cases: dict[str, Any] = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [fired],
            }
        ],
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases))
    command = ["promtool", "test", "rules", str(tmp_path / "cases.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
