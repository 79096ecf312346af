"""The command line: turns words into settings for one command, and errors into exit codes.

argparse only splits the words and prints `--help`; `config` reads the values. No flag requires its value here: a
missing one is reported where values are read, so that one run reports all violations.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from cloudroute import __version__
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import BAD_USAGE, DONE, FAILED, exit_code, no_lab
from cloudroute.commands.help import command_parser, command_settings, overview
from cloudroute.commands.output import write_exactly, write_lines
from cloudroute.config import CONFIG_FLAG, load, suggestion
from cloudroute.errors import UsageError

_OF_CLUSTER = ("controller", "agent", "plan", "status", "path", "doctor", "verify", "cleanup", "crd")
"""Modules of `cloudroute.commands`, in the help's order. Only the called one is imported: all of them take a tenth of
a second, by which each start of an agent would be slower."""


@cache
def commands() -> tuple[Command, ...]:
    """Return all commands, in the help's order; those of the lab only where it is installed (the image has none)."""
    return (*map(_of_cluster, _OF_CLUSTER), *_of_lab())


def _of_cluster(name: str) -> Command:
    command: Command = import_module(f"cloudroute.commands.{name}").COMMAND
    return command


def _of_lab() -> tuple[Command, ...]:
    if not find_spec("cloudroute.lab"):
        return ()
    from cloudroute.lab.commands import COMMANDS

    return COMMANDS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit code."""
    try:
        code = exit_code(lambda: _run(list(sys.argv[1:] if argv is None else argv)))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of stdout has closed it. Python flushes stdout once more at exit and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _run(argv: list[str]) -> int:
    if not argv:
        write_lines(overview(commands()).splitlines(), sys.stderr)
        return BAD_USAGE
    if argv[0] in ("-h", "--help"):
        write_exactly(overview(commands()))
        return DONE
    if argv[0] == "--version":
        write_lines([f"cloudroute {__version__}"])
        return DONE
    command, rest = _find(argv)
    if command is None:
        return _group(argv)
    return command.run(_invocation(command, rest))


def _find(argv: list[str]) -> tuple[Command | None, list[str]]:
    """The command named by the first one or two words, and the words after them."""
    if argv[0] in _OF_CLUSTER:
        return _of_cluster(argv[0]), argv[1:]
    by_name = {command.name: command for command in _of_lab()}
    for length in (2, 1):
        command = by_name.get(" ".join(argv[:length]))
        if command:
            return command, argv[length:]
    return None, argv


def _group(argv: list[str]) -> int:
    """Print the help of a group of commands, as `lab`. Raises UsageError for any other words that name no command."""
    members = [command for command in commands() if command.name.startswith(argv[0] + " ")]
    if members and argv[1:] and argv[1] in ("-h", "--help"):
        write_exactly(overview(members))
        return DONE
    if members:
        expected = " or ".join(command.name for command in members)
        raise UsageError([f"{' '.join(argv[:2])}: expected {expected}; see cloudroute {argv[0]} --help"])
    if argv[0] in ("demo", "lab"):
        raise no_lab("cloudroute.lab")
    if argv[0].startswith("-"):
        raise UsageError([f"{argv[0]}: expected a command first; see cloudroute --help"])
    near = suggestion(argv[0], {command.name.split()[0] for command in commands()})
    raise UsageError([f"{argv[0]}: unknown command{near or '; see cloudroute --help'}"])


def _invocation(command: Command, rest: list[str]) -> Invocation:
    parser = command_parser(command)
    rest, line = _split_line(command, rest)
    namespace, extras = parser.parse_known_args(_completed(command, rest))
    given = vars(namespace)
    config = given.pop("config", None) or []
    flags = ["--help", CONFIG_FLAG, *(setting.flag for setting in command_settings(command))]
    words, problems = _sort_extras(extras, flags, f"see {parser.prog} --help")
    words += line
    least = sum(1 for word in command.words if not word.startswith("["))
    if len(words) < least or (len(words) > len(command.words) and not command.takes_line):
        expected = " ".join(command.words) or "flags only"
        problems.append(f"{' '.join(words) or command.name}: expected {expected}")
    if None in config:
        problems.append(f"{CONFIG_FLAG}: no value, expected a file's path")
    settings = load(
        command.kinds,
        {name: values for name, values in given.items() if values},
        os.environ,
        config=(config[-1] if config else "") or "",
        required=command.required,
        problems=problems,
    )
    return Invocation(settings, tuple(words))


def _split_line(command: Command, words: list[str]) -> tuple[list[str], list[str]]:
    """Our own words, and the command line after `--`, which is passed through unchanged."""
    if command.takes_line and "--" in words:
        at = words.index("--")
        return words[:at], words[at + 1 :]
    return words, []


def _completed(command: Command, words: list[str]) -> list[str]:
    """Give a switch without a value its default one; else `path --once a b` would take `a` as the value."""
    switches = {setting.flag: setting for setting in command_settings(command) if setting.bare}
    done: list[str] = []
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        switch = switches.get(word)
        alone = switch and following not in switch.reader.metavar.split("|")
        done.append(f"{word}={switch.bare}" if switch and alone else word)
    return done


def _sort_extras(extras: list[str], flags: list[str], advice: str) -> tuple[list[str], list[str]]:
    """Sort the words that argparse has no flag for: the command's own words, and a problem per unknown flag."""
    words: list[str] = []
    problems: list[str] = []
    value_of_unknown = False
    for extra in extras:
        if extra.startswith("-") and extra != "--":
            flag = extra.split("=")[0]
            problems.append(f"{flag}: unknown flag{suggestion(flag, flags) or f'; {advice}'}")
        elif not value_of_unknown and extra != "--":
            words.append(extra)
        value_of_unknown = extra.startswith("-") and extra != "--" and "=" not in extra
    return words, problems
