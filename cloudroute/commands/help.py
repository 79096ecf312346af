"""`--help`, built from the settings and the commands, and the argparse parser that prints it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable
from typing import NoReturn

from cloudroute.commands.command import Command
from cloudroute.config import CONFIG_FLAG, Setting, Settings, settings_of
from cloudroute.errors import UsageError

_SOURCES = """A flag wins over the environment, which wins over the file of --config, which wins over the default.
--route-limit is CLOUDROUTE_ROUTE_LIMIT in the environment (several values: comma-separated) and route-limit in the file
(several values: a list)."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError([f"{message}; see {self.prog} --help"])


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        # To argparse every value is optional, so that a missing one is reported with all the other mistakes.
        return action.metavar if isinstance(action.metavar, str) else super()._format_args(action, default_metavar)


def command_settings(command: Command) -> list[Setting]:
    """Return every setting that is a flag of the command."""
    return [setting for kind in command.kinds for setting in settings_of(kind)]


def reads_file(command: Command) -> bool:
    """Whether the command takes --config and reads the environment."""
    return any(issubclass(kind, Settings) for kind in command.kinds)


def command_parser(command: Command) -> argparse.ArgumentParser:
    """Return a parser that yields a list of texts per flag (None for a flag without a value) and checks no values."""
    words = "".join(f" {word}" for word in command.words)
    example = "".join(f"  {line}\n" for line in command.example.splitlines())
    parser = _Parser(
        prog=f"cloudroute {command.name}",
        usage=f"cloudroute {command.name} [flags]{words}",
        description=textwrap.fill(command.text, 100),
        epilog=f"{_SOURCES if reads_file(command) else ''}\n\nExample:\n{example}".lstrip(),
        formatter_class=_Help,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in command_settings(command):
        group = groups.get(setting.group) or groups.setdefault(setting.group, parser.add_argument_group(setting.group))
        group.add_argument(
            *filter(None, (setting.short, setting.flag)),
            dest=setting.field,
            action="append",
            nargs="?",
            metavar=f"[{setting.reader.metavar}]" if setting.bare else setting.reader.metavar,
            help=_about(setting),
        )
    if reads_file(command):
        parser.add_argument(CONFIG_FLAG, action="append", nargs="?", metavar="FILE", help="YAML file of settings.")
    return parser


def overview(commands: Iterable[Command]) -> str:
    """Return the text of `cloudroute --help`."""
    commands = list(commands)
    names = [command.name for command in commands]
    width = max(map(len, names))
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in commands]
    return "\n".join(
        (
            "usage: cloudroute COMMAND [flags]",
            "",
            "Pod networking for Kubernetes on EC2 that uses the VPC itself: a route per node where the route table has",
            "room, the subnet where two nodes share one, and a VXLAN tunnel for what is left.",
            "",
            *lines,
            "",
            "cloudroute COMMAND --help says what happens, every flag with its default, and an example.",
            *(["Try it without an account: cloudroute demo"] if "demo" in names else []),
            "",
        )
    )


def _about(setting: Setting) -> str:
    default = setting.shown_default or "none"
    unit = f" {setting.unit}" if setting.unit else ""
    repeatable = "; may be repeated" if setting.repeatable else ""
    why = f"; {setting.why}" if setting.why else ""
    return f"{setting.meaning} [default: {default}{unit}{repeatable}{why}]".replace("%", "%%")
