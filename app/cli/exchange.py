"""Soon."""

from app.cli.common import Commands

COMMANDS: Commands = {}
