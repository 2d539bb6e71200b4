"""The public surface as JSON, without wording: what callers, configurations and stored files depend on.

`python -m tests.surface` writes it into tests/surface/frozen/. A change there changes the contract and belongs in the
CHANGELOG.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer.main
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic_settings import BaseSettings

FROZEN = Path(__file__).with_name("frozen")
WORDING = {"description", "summary", "title", "example", "examples", "version", "contact"}


def openapi() -> dict[str, Any]:
    """Paths, parameters, schemas and responses of the API."""
    from app.main import create_app
    from app.settings import AppSettings

    document: dict[str, Any] = without_wording(create_app(AppSettings()).openapi())
    return document


def without_wording(node: Any, names_are_data: bool = False) -> Any:
    """Drop descriptions and examples. The keys of `properties` are field names, and stay."""
    if isinstance(node, list):
        return [without_wording(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: without_wording(child, name in ("properties", "schemas"))
        for name, child in node.items()
        if names_are_data or name not in WORDING
    }


def commands() -> dict[str, Any]:
    """Each command with its arguments and options, as `--help` lists them."""
    from app.cli.application import cli

    return {name: [parameter(each) for each in command.params] for name, command in sorted(leaves(cli).items())}


def leaves(cli: typer.Typer) -> dict[str, Any]:
    """The commands by name; those of a group as `group command`."""
    top: Any = typer.main.get_command(cli)
    groups = {name: command.commands for name, command in top.commands.items() if hasattr(command, "commands")}
    plain = {name: command for name, command in top.commands.items() if name not in groups}
    return plain | {f"{name} {member}": each for name, members in groups.items() for member, each in members.items()}


def parameter(param: Any) -> dict[str, Any]:
    """An argument or option. Typer has its own classes for both."""
    return {
        "kind": type(param).__name__.removeprefix("Typer").lower(),
        "names": sorted([*param.opts, *param.secondary_opts]),
        "type": readable(param.type_descriptor.annotation),
        "required": param.required,
        "default": None if callable(param.default) else str(param.default),
    }


def settings() -> dict[str, str]:
    """Each `ACGAN_*` variable with its type and default."""
    from app.settings import AppSettings

    prefix = AppSettings.model_config["env_prefix"]
    return {
        f"{prefix}{name}".upper(): f"{readable(field.annotation)} = {default(AppSettings, name)}"
        for name, field in sorted(AppSettings.model_fields.items())
    }


def default(kind: type[BaseSettings], name: str) -> str:
    value = kind.model_fields[name].get_default(call_default_factory=True, validated_data={})
    return re.sub(re.escape(str(Path.home())), "~", str(value))


def readable(annotation: object) -> str:
    """A type without the module that defines it: modules may move."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+", "", text)


def without_rules(annotation: Any) -> Any:
    """A type, or None, without what its texts must look like."""
    if not any(get_origin(part) is Annotated for part in get_args(annotation)) or get_origin(annotation) is not Union:
        return annotation
    parts = (get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(annotation))
    return reduce(or_, parts)


def metrics() -> dict[str, list[str]]:
    """Name -> type and labels of each metric of the API and of the worker."""
    found = {}
    for module in ("app.metrics", "worker.observability.metrics"):
        registry = importlib.import_module(module).REGISTRY
        for collector in collectors(registry):
            found[collector._name] = [collector._type, *collector._labelnames]
    return dict(sorted(found.items()))


def collectors(registry: CollectorRegistry) -> Iterator[MetricWrapperBase]:
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            yield collector


def client() -> dict[str, Any]:
    """Exports of the client, the calls of its two forms, and the fields of its records."""
    import acgan_client

    names = [name for name in sorted(acgan_client.__all__) if not name.startswith("_")]
    return {name: signatures(getattr(acgan_client, name)) for name in names}


def signatures(kind: type) -> dict[str, str]:
    if issubclass(kind, BaseModel):
        return {name: readable(without_rules(field.annotation)) for name, field in kind.model_fields.items()}
    methods = inspect.getmembers(kind, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
    signatures = {name: readable(inspect.signature(method)) for name, method in methods if not name.startswith("_")}
    return {name: re.sub(r"\*<class '(\w+)'>", r"Unpack[\1]", signature) for name, signature in signatures.items()}


def stored(names: Iterable[str], jobs: Iterable[str]) -> list[str]:
    """Names of keys or files without the ids of jobs and running numbers."""
    ids = re.compile("|".join(map(re.escape, jobs)))
    general = (re.sub(r"\b[0-9a-f]{16,64}\b", "HEX", ids.sub("JOB", name)) for name in names)
    return sorted({re.sub(r"(?<=/)\d{3}(?=/)", "EPOCH", name) for name in general})


PARTS: dict[str, Callable[[], Any]] = {
    "openapi": openapi,
    "commands": commands,
    "settings": settings,
    "metrics": metrics,
    "client": client,
}


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(name: str, value: Any) -> None:
    (FROZEN / f"{name}.json").write_text(as_json(value))


def main() -> None:
    for name, part in PARTS.items():
        write(name, part())
    sys.stdout.write(f"{len(PARTS)} files written. redis.json and store.json are edited by hand\n")
