"""`acgan serve`: only the API."""

import logging
from contextlib import suppress

from app.cli.errors import error_console, fail, fail_on, read_settings, require_posix
from app.cli.options import Home, Host, Port

logger = logging.getLogger(__name__)


def serve(host: Host = None, port: Port = None, home: Home = None) -> None:
    """Run only the API, which stores jobs in the Redis at ACGAN_REDIS_URL."""
    require_posix()
    from app.main import create_app
    from app.server.server import Server
    from app.server.supervisor import check_port, is_loopback
    from worker.lifecycle.lease import EXIT_CODE
    from worker.observability import log_config
    from worker.observability.addresses import host_port, http_address

    settings = read_settings(host=host, port=port, home=home)
    log_config.configure(settings)
    with fail_on():
        check_port(settings.host, settings.port)
        app = create_app(settings)
    address = http_address(settings.host, settings.port)
    if log_config.wants_json(settings):
        logger.info("acgan listens at %s", address)
    else:
        error_console.print(f"acgan listens at {address}", highlight=False)
    if settings.api_keys is None and not is_loopback(settings.host):
        logger.warning(
            "authentication is disabled: anyone with access to %s can start runs; see `acgan key --help`",
            host_port(settings.host, settings.port),
        )
    server = Server(app, settings.drain_seconds, host=settings.host, port=settings.port)
    with suppress(KeyboardInterrupt):
        server.run()
    if server.device_is_broken:
        fail("the API can no longer use its device; another process can: start it again", EXIT_CODE)
