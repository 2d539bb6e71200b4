"""`acgan up`: Redis, workers and the API on this machine."""

from app.cli.display.output import console
from app.cli.errors import fail_on, print_note, read_settings, require_posix
from app.cli.options import Home, Host, Port, Workers


def up(host: Host = None, port: Port = None, home: Home = None, workers: Workers = None) -> None:
    """Start Redis, workers and the API on this machine. Ctrl-C stops them all."""
    require_posix()
    from app.server.supervisor import up as run
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
    with fail_on():
        killed = run(settings, announce)
    print_note(stopped(killed))


def stopped(killed: list[str]) -> str:
    """Return the last line of `acgan up`: what continues at the next start, and what had to be killed.

    The API stores nothing, so nothing is lost if it is killed.
    """
    if not (workers := [name for name in killed if name != "api"]):
        return "stopped: all processes have ended; runs and other jobs continue at the next start"
    return (
        f"stopped: killed before its state was saved: {', '.join(workers)}. At the next start, runs and other jobs "
        "continue from what was saved last"
    )
