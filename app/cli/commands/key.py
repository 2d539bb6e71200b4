"""`acgan key`: creates an API key."""

from typing import Annotated, Literal

import typer

from app.cli.display.output import print_json, write_line
from app.cli.errors import fail_on
from app.cli.options import AsJson


def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's owner, used in logs and limits.")],
    role: Annotated[
        Literal["read", "train", "admin"],
        typer.Option(help="`read`; `train` may also start jobs and change its own; `admin` may do everything."),
    ] = "train",
    as_json: AsJson = False,
) -> None:
    """Create an API key and its entry for ACGAN_API_KEYS. The key is shown once and not stored."""
    from app.security.api_keys import Role, make_key

    with fail_on(ValueError):
        secret, entry = make_key(name, Role(role))
    if as_json:
        print_json({"name": name, "role": role, "key": secret, "entry": str(entry)})
        return
    write_line(f"The API key, shown only once:\n\n    {secret}\n")
    write_line(f"Add its entry to ACGAN_API_KEYS of the service:\n\n    {entry}")
