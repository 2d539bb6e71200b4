"""The Lua files: no key and no status written twice, each file used and packaged, each script accepted by Redis."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import redis

from worker.jobs import keys, scripts
from worker.jobs.model import ENDED, HIGHEST_PRIORITY, LAST, RUNS_ON, JobKind, JobStatus

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "worker").rglob("*.lua"))
SCRIPTS = {name: text for name, text in vars(scripts).items() if name.isupper() and isinstance(text, str)}
STATUS_WORD = re.compile(rf"\b({'|'.join(JobStatus)})\b")
INJECTED = re.findall(r"^local (\w+) = ", scripts.prelude(), re.MULTILINE)
LUA_OWN = {"ARGV", "KEYS"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def code_of(text: str) -> str:
    """Return Lua text without comments."""
    return re.sub(r"^#!.*|--.*", "", text, flags=re.MULTILINE)


def names_in(text: str) -> set[str]:
    """Return the names in upper case outside of comments and strings."""
    return set(re.findall(r"(?<![\w.])[A-Z][A-Z_]+\b", re.sub(r"'[^']*'", "''", code_of(text))))


@each_file
def test_a_lua_file_writes_no_key_and_no_status(path: Path) -> None:
    text = path.read_text()
    assert keys.JOB_PREFIX.partition(":")[0] not in text
    assert not STATUS_WORD.search(code_of(text))
    for suffix in (keys.EPOCHS_SUFFIX, *(f":{runs_on}" for runs_on in RUNS_ON)):
        assert suffix not in text
    assert not re.search(r"['\"](runs|datasets)\b", text)


@each_file
def test_every_constant_that_lua_uses_is_injected_or_local(path: Path) -> None:
    shared = "\n".join(file.read_text() for file in (ROOT / "worker/jobs/lua/common.lua", path))
    declared = set(re.findall(r"\blocal ([A-Z][A-Z_]+)\b", shared))
    assert names_in(path.read_text()) <= {*INJECTED, *declared, *LUA_OWN}
    assert not declared & set(INJECTED)
    assert set(re.findall(r"\bSTATUS\.(\w+)", path.read_text())) <= set(JobStatus.__members__)


@each_file
def test_a_lua_file_is_short_and_part_of_a_script(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 350
    assert max(map(len, text.splitlines())) <= 120
    body = re.sub(r"^#!.*\n", "", text)
    assert [name for name, script in SCRIPTS.items() if body in script]


def test_the_constants_are_those_of_python(redis_url: str) -> None:
    """Redis evaluates the prelude: the values are compared, not their text."""
    pairs = "local all = {}\nfor name, value in pairs(%s) do all[#all + 1] = name .. '=' .. tostring(value) end\n"
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:

        def value_of(name: str) -> object:
            return client.eval(f"{scripts.prelude()}return {name}", 0)

        def entries_of(name: str) -> set[str]:
            answer: list[str] = client.eval(scripts.prelude() + pairs % name + "return all", 0)
            return set(answer)

        assert entries_of("STATUS") == {f"{status.name}={status.value}" for status in JobStatus}
        assert entries_of("ENDED") == {f"{status.value}=true" for status in ENDED}
        assert entries_of("QUEUES") == {f"{runs_on}={keys.queue_key(runs_on)}" for runs_on in RUNS_ON}
        assert entries_of("KIND") == {f"{kind.name}={kind.value}" for kind in JobKind}
        assert entries_of("LISTS") == {f"{kind.value}={keys.index_key(kind)}" for kind in JobKind}
        assert entries_of("LAST") == {f"{kind.value}=true" for kind in LAST}
        assert value_of("HIGHEST_PRIORITY") == HIGHEST_PRIORITY
        plain = set(INJECTED) - {"STATUS", "ENDED", "LAST", "QUEUES", "KIND", "LISTS", "HIGHEST_PRIORITY"}
        assert plain >= {"JOBS", "LEASES", "JOB_PREFIX"}
        assert {name: value_of(name) for name in plain} == {name: getattr(keys, name) for name in plain}


@pytest.mark.parametrize("name", SCRIPTS)
def test_redis_compiles_each_script(name: str, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.script_load(SCRIPTS[name])


def test_scripts_that_must_run_when_redis_is_full_begin_with_that_flag() -> None:
    flagged = {name for name, text in SCRIPTS.items() if text.startswith("#!lua flags=allow-oom\n")}
    of_a_worker = {"RENEW", "FINISH", "THINNED", "SEEN", "LOOP_STATES", "PULSE", "RELEASE"}
    assert flagged == {"DELETE", "CLAIM_MESSAGE", "SETTLE_MESSAGE"} | of_a_worker
    assert [name for name, text in SCRIPTS.items() if "#!" in text[1:]] == []


def test_every_process_composes_the_same_text() -> None:
    """Else each process loads its own scripts into Redis, and waits for a compilation at each first call."""
    show = "from worker.jobs import scripts; print([text for text in vars(scripts).values() if isinstance(text, str)])"

    def composed(seed: str) -> bytes:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", show], capture_output=True, check=True, env=environment).stdout

    assert composed("1") == composed("2")


def test_a_wheel_has_every_lua_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    globs = project["tool"]["setuptools"]["package-data"]["worker"]
    assert sorted(path for glob in globs for path in (ROOT / "worker").glob(glob)) == FILES
