"""The Lua scripts, composed from worker/jobs/lua/*.lua. Each script runs in Redis as one atomic step.

The Lua files contain no key and no status: `prelude` injects those of worker/jobs/keys.py and worker/jobs/model.py.

Times are from the clock of Redis, because the clocks of hosts may differ. A fence token identifies one claim; tokens
only grow, and a write is accepted only if the record still has the writer's token. The scripts build keys from ids, so
they need a single Redis, not a cluster.
"""

from collections.abc import Mapping
from importlib.resources import files

from worker.jobs import keys
from worker.jobs.model import ENDED, HIGHEST_PRIORITY, LAST, RUNS_ON, JobKind, JobStatus

LUA = files("worker.jobs") / "lua"


def literal(value: str | bool) -> str:
    """Return a constant in Lua's syntax. Keys and states need no escapes."""
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def table(entries: Mapping[str, str | bool]) -> str:
    return "{" + ", ".join(f"{name} = {literal(value)}" for name, value in entries.items()) + "}"


def prelude() -> str:
    """Return the Lua constants: each key of worker/jobs/keys.py under its Python name, and these tables.

    QUEUES: `any`, `cpu` or `gpu` -> key of the queue. KIND, STATUS: name -> value. LISTS: kind -> key of its list.
    ENDED: set of statuses. LAST: set of kinds that wait behind the other jobs of their priority. HIGHEST_PRIORITY.
    """
    constants = {name: literal(key) for name, key in vars(keys).items() if name.isupper() and isinstance(key, str)}
    constants["QUEUES"] = table({runs_on: keys.queue_key(runs_on) for runs_on in RUNS_ON})
    constants["KIND"] = table({kind.name: kind.value for kind in JobKind})
    constants["LISTS"] = table({kind.value: keys.index_key(kind) for kind in JobKind})
    constants["STATUS"] = table({status.name: status.value for status in JobStatus})
    constants["ENDED"] = table({status.value: True for status in JobStatus if status in ENDED})
    constants["LAST"] = table({kind.value: True for kind in JobKind if kind in LAST})
    constants["HIGHEST_PRIORITY"] = str(HIGHEST_PRIORITY)
    return "".join(f"local {name} = {value}\n" for name, value in constants.items())


def read(name: str) -> str:
    return (LUA / f"{name}.lua").read_text(encoding="utf-8")


def script(name: str, *shared: str) -> str:
    """Compose a script from the constants, `common.lua`, other files with shared functions, and its own file.

    If its file begins with `#!lua`, that line stays the first one. With `flags=allow-oom`, the script also runs when
    Redis is full: a worker must keep its job then.
    """
    own = read(name)
    shebang, own = own.split("\n", 1) if own.startswith("#!") else ("", own)
    return "\n".join([shebang, prelude(), *map(read, ("common", *shared)), own]).lstrip("\n")


# Scripts of the API.
CREATE = script("create", "caller_share")
CANCEL = script("cancel")
RESUME = script("resume", "caller_share")
DELETE = script("delete", "ranks")
FRONT = script("front")
LABEL = script("label", "ranks")
LIST = script("list", "ranks")
ADD_RANKS = script("add_ranks", "ranks")
READ_LIVE = script("read_live")
LAST_EPOCHS = script("last_epochs")

# Scripts with which a worker claims a job, renews its lease, writes its record and ends it.
NEXT = script("next")
CLAIM = script("claim")
LEAVE_ALONE = script("leave_alone")
WAITING_TROUBLE = script("waiting_trouble")
RENEW = script("renew", "held")
WRITE = script("write", "held", "ranks")
FINISH = script("finish", "held")
LIVE = script("live", "held")
THINNED = script("thinned")

# Scripts of the sender of messages about ends of jobs.
CLAIM_MESSAGE = script("claim_message")
SETTLE_MESSAGE = script("settle_message")

# Scripts of the reconciler and the supervisor of a worker.
RECONCILE = script("reconcile")
SEEN = script("seen")
LOOP_STATES = script("loop_states", "loop_report")
PULSE = script("pulse", "loop_report")
HELD_BY = script("held_by")
RELEASE = script("release")
INDEX = script("index")
