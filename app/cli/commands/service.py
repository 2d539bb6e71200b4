"""Commands that run the service on this machine: `acgan up`, `serve`, `worker`, and `key`."""

import logging
import os
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Literal

import typer

from app.cli.common import (
    MISTAKE,
    AsJson,
    Commands,
    Home,
    complain,
    console,
    errors,
    mistakes_in_a_sentence,
    read_settings,
    tell_json,
)
from app.cli.output import write_line

logger = logging.getLogger(__name__)

Host = Annotated[str | None, typer.Option(help="Address to listen on [ACGAN_HOST, or 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(help="Port to listen on [ACGAN_PORT, or 8000].")]
Workers = Annotated[int | None, typer.Option(help="Number of workers [ACGAN_WORKERS, or one per GPU, at least one].")]
Device = Annotated[str | None, typer.Option(help="`cpu`, `cuda`, `cuda:1` [ACGAN_DEVICE, or a GPU if there is one].")]


OTHER_SYSTEM = (
    "the service runs on Linux and macOS (on Windows, in WSL): this system has no {name}. All other commands work here."
)


def require_posix() -> None:
    """End the command with one sentence if the system lacks the process control that the service needs."""
    for name in ("fcntl", "resource"):
        try:
            import_module(name)
        except ImportError:
            complain(OTHER_SYSTEM.format(name=name))
            raise typer.Exit(MISTAKE) from None


def up(host: Host = None, port: Port = None, home: Home = None, workers: Workers = None) -> None:
    """Start Redis, workers and the API on this machine. Ctrl-C stops them all."""
    require_posix()
    from app.server.embedded_redis import NoRedisServer
    from app.server.supervisor import CannotStart
    from app.server.supervisor import up as run
    from models.devices import DeviceUnavailable
    from worker.observability import log_config

    def announce(address: str) -> None:
        console.print(
            f"\n[bold green]acgan is up[/] at [link]{address}[/link]   (Ctrl-C stops everything)\n", markup=True
        )
        console.print(f"  in a browser    {address}/", highlight=False)
        body = """-H 'Content-Type: application/json' -d '{"epochs": 2}'"""
        console.print(f"  start a run     curl {address}/train {body}", highlight=False, markup=False, soft_wrap=True)
        console.print(f"  watch it        curl {address}/jobs", highlight=False)
        console.print(f"  draw 40 sevens  curl -o sevens.png '{address}/digits/7?n=40'", highlight=False)
        if settings.api_keys is not None:
            console.print("  with a key      curl -H 'Authorization: Bearer KEY' ...", highlight=False)
        console.print(f"  documentation   {address}/docs", highlight=False)
        console.print(f"  data and logs   {settings.home}/\n", highlight=False, markup=False, soft_wrap=True)

    settings = read_settings(host=host, port=port, home=home, workers=workers)
    log_config.configure(settings)
    with mistakes_in_a_sentence(CannotStart, DeviceUnavailable, NoRedisServer):
        run(settings, announce)


def serve(host: Host = None, port: Port = None, home: Home = None) -> None:
    """Run only the API. It queues jobs in the Redis at ACGAN_REDIS_URL."""
    require_posix()
    from app.main import create_app
    from app.server.server import Server
    from app.server.supervisor import CannotStart, check_port, is_loopback
    from models.devices import DeviceUnavailable
    from worker.observability import log_config
    from worker.observability.addresses import host_port, http_address

    settings = read_settings(host=host, port=port, home=home)
    log_config.configure(settings)
    with mistakes_in_a_sentence(DeviceUnavailable, CannotStart):
        check_port(settings.host, settings.port)
        app = create_app(settings)
    address = http_address(settings.host, settings.port)
    if log_config.wants_json(settings):
        logger.info("acgan listens at %s", address)
    else:
        errors.print(f"acgan listens at {address}", highlight=False)
    if settings.api_keys is None and not is_loopback(settings.host):
        logger.warning(
            "authentication is disabled: anyone with access to %s can start runs; see `acgan key --help`",
            host_port(settings.host, settings.port),
        )
    with suppress(KeyboardInterrupt):
        Server(app, settings.drain_seconds, host=settings.host, port=settings.port).run()


def worker(home: Home = None, device: Device = None) -> None:
    """Run one worker, for jobs in the Redis at ACGAN_REDIS_URL. Run one per GPU: `--device cuda:0`, `cuda:1`."""
    require_posix()
    from worker.observability import log_config

    settings = read_settings(home=home, device=device)
    os.environ["ACGAN_DEVICE"] = settings.device  # worker.tasks reads it, and does not start without it
    os.environ["ACGAN_HOME"] = str(settings.home.resolve())  # the training process reads both
    log_config.configure(settings)
    from app.server.supervisor import answers
    from worker.jobs.client import UnsafeRedisConfig
    from worker.jobs.consumer import JobConsumer
    from worker.tasks import celery

    if not answers(settings.redis_url):
        complain("Redis does not respond yet, waiting for it: start it, or set ACGAN_REDIS_URL")
    else:
        with mistakes_in_a_sentence(UnsafeRedisConfig):
            JobConsumer.connect(settings.redis_url).check_eviction()
    quiet = ["--quiet"] if log_config.wants_json(settings) else []  # no banner among the JSON lines
    options = ["--loglevel", settings.log_level.upper(), "--without-gossip", "--without-mingle"]
    celery.worker_main([*quiet, "worker", *options])


def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's owner, used in logs and limits.")],
    role: Annotated[
        Literal["read", "train", "admin"],
        typer.Option(help="`read`; `train` may also start jobs and change its own; `admin` may do everything."),
    ] = "train",
    as_json: AsJson = False,
) -> None:
    """Create an API key. It is shown once: the service stores only its entry in ACGAN_API_KEYS."""
    from app.security.api_keys import Role, make_key

    with mistakes_in_a_sentence(ValueError):
        made, entry = make_key(name, Role(role))
    if as_json:
        tell_json({"name": name, "role": role, "key": made, "entry": str(entry)})
        return
    write_line(f"The API key, shown only once:\n\n    {made}\n")
    write_line(f"Add its entry to ACGAN_API_KEYS of the service:\n\n    {entry}")


COMMANDS: Commands = {"up": up, "serve": serve, "worker": worker, "key": key}
