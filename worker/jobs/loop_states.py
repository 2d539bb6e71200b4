"""The states of background loops as they are stored in Redis, and their summary for `/readyz`."""

import json
from collections.abc import Mapping, Sequence

SILENT_SECONDS = 60.0  # a report this old is no state any more
MOST_CHARACTERS = 500  # of the state of one loop
REPORTER = "loop reports"

RUNNING = "running"  # the state of a loop that does its work


def encode(states: Mapping[str, str]) -> str:
    return json.dumps({name: state[:MOST_CHARACTERS] for name, state in states.items()})


def summarize(reports: Mapping[str, str], workers: Sequence[str], now: float) -> dict[str, str]:
    """Return the state of each loop by name over all processes: `running`, or why one does not work.

    `reports` are the reports by process, as Redis has them; `workers` those that were seen lately, as `kind process`.
    `now` is in seconds by Redis' clock. No process is named.
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
    """Decode one report. One that is not understood or too old says nothing, unless its worker is there."""
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
