"""The stored states of background loops, and their summary for `/readyz`."""

import json
from collections.abc import Mapping, Sequence

SILENT_SECONDS = 60.0  # an older report is out of date
MOST_CHARACTERS = 500  # in the stored state of one loop
REPORTER = "loop reports"

RUNNING = "running"  # state of a loop that works


def encode(states: Mapping[str, str]) -> str:
    return json.dumps({name: state[:MOST_CHARACTERS] for name, state in states.items()})


def summarize(reports: Mapping[str, str], workers: Sequence[str], now: float) -> dict[str, str]:
    """Return the state of each loop by name over all processes: `running`, or the reason why it does not work.

    `reports` are the stored reports by process; `workers` are the workers seen recently, as `kind process`. `now` is in
    seconds by Redis' clock. The result names no process.
    """
    troubles: dict[str, list[str]] = {}
    known = {worker.partition(" ")[2] for worker in workers}
    for process, text in reports.items():
        for name, state in _states(text, now, process in known).items():
            troubles.setdefault(name, []).extend([] if state == RUNNING else [state])
    return {name: _summary(found) for name, found in sorted(troubles.items())}


def _summary(troubles: list[str]) -> str:
    more = f" (and in {len(troubles) - 1} more processes)" if len(troubles) > 1 else ""
    return f"{sorted(troubles)[0]}{more}" if troubles else RUNNING


def _states(text: str, now: float, is_known: bool) -> dict[str, str]:
    """Decode one report. Returns {} if it is invalid or too old; `stuck` if it is too old but its worker is live."""
    at, _, states = text.partition(" ")
    try:
        age, decoded = now - float(at), json.loads(states)
    except ValueError:
        return {}
    if not isinstance(decoded, dict) or age < -1:  # a clock that was ahead wrote it
        return {}
    if age > SILENT_SECONDS:
        return {REPORTER: f"stuck: no report for {age:.0f} s"} if is_known else {}
    return {str(name): str(state) for name, state in decoded.items()}
