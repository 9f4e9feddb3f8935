"""`tallyhouse`: operators' commands.

Each group lives in a module of its own, read when it is called, so that a head-end does not carry the PDF engine and
`frames decode` answers at once.
"""

import importlib

import click

from app.kernel.errors import AppError, StartRefused

#: Command → module and object.
COMMANDS: dict[str, str] = {
    "up": "app.cli.processes:up",
    "web": "app.cli.processes:web",
    "worker": "app.cli.workers:worker",
    "scheduler": "app.cli.processes:scheduler",
    "headend": "app.cli.processes:headend",
    "street": "app.cli.processes:street",
    "fake-sms": "app.cli.processes:fake_sms",
    "demo": "app.cli.demo:demo",
    "db": "app.cli.database:db",
    "ledger": "app.cli.ledger:ledger",
    "audit": "app.cli.audit:audit",
    "keys": "app.cli.keys:keys",
    "groups": "app.cli.groups:groups",
    "access": "app.cli.access:access",
    "stops": "app.cli.stops:stops",
    "frames": "app.cli.frames:frames",
}


class Commands(click.Group):
    """A group that imports a command's module when it is called."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an expected refusal is one line, never a traceback."""
        try:
            return super().invoke(ctx)
        except (AppError, StartRefused) as refused:
            raise click.ClickException(str(refused)) from refused

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tallyhouse 账房: energy fees, prepaid meters and the books of property groups."""
