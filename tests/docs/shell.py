"""The commands in a block of a page, as words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tests.docs.pages import Block

SHELLS = ("console", "sh", "bash", "shell")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)")
_PREFIXES = ("sudo", "time", "exec", "env", "then", "do", "if", "until", "while", "!", "nohup")


def script(block: Block) -> str:
    """Typed lines: all of a script; in a console those after a prompt, with their continuations."""
    if block.language != "console":
        return block.text
    typed: list[str] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        if not line.startswith(("$ ", "# ")):
            continue
        typed.append(line[2:])
        while typed[-1].endswith("\\") or _quote_is_open("\n".join(typed)):
            following = next(lines, None)
            if following is None:
                break
            typed.append(following.removeprefix("> "))
        if heredoc := _HEREDOC.search(line):
            for inside in lines:
                typed.append(inside.removeprefix("> "))
                if inside.removeprefix("> ").strip() == heredoc.group(1):
                    break
    return "\n".join(typed) + "\n"


def _quote_is_open(text: str) -> bool:
    try:
        shlex.split(_without_heredocs(text), comments=True)
    except ValueError:
        return True
    return False


def commands(block: Block) -> list[list[str]]:
    """The simple commands of a block: pipes and lists taken apart, redirections, `sudo` and assignments dropped."""
    return list(_commands(script(block)))


def assignments(block: Block) -> dict[str, str]:
    """Variables that a block sets, with their literal values."""
    found: dict[str, str] = {}
    for line in _logical_lines(script(block)):
        words = [word for word in shlex.split(line, comments=True) if word != "export"]
        if words and all(_ASSIGNMENT.match(word) for word in words):
            found |= {name: value for name, _, value in (word.partition("=") for word in words)}
    return found


def _commands(text: str) -> Iterator[list[str]]:
    for line in _logical_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.commenters = "#"
        lexer.wordchars += "{}[],@%+:!$^"
        command: list[str] = []
        skip = False
        for word in lexer:
            if skip:
                skip = False
            elif set(word) <= set("<>&") and set(word) & set("<>"):
                skip = True
                if command and command[-1].isdigit():
                    command.pop()
            elif set(word) <= set("();|&"):
                yield from _named(command)
                command = []
            else:
                command.append(word)
        yield from _named(command)


def _named(words: list[str]) -> Iterator[list[str]]:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _PREFIXES):
        words = words[1:]
    if words:
        yield words


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with their continuations; `$( ... )` and heredocs become one word, or nothing."""
    plain = re.sub(r"\$\([^()]*\)", "$SUBSTITUTED", _without_heredocs(text)).replace("\\\n", " ")
    pending = ""
    for line in plain.splitlines():
        pending += line
        if _quote_is_open(pending):
            pending += "\n"
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def _without_heredocs(text: str) -> str:
    kept: list[str] = []
    end = ""
    for line in text.splitlines():
        if end:
            end = "" if line.strip() == end else end
            continue
        kept.append(line)
        if heredoc := _HEREDOC.search(line):
            end = heredoc.group(1)
    return "\n".join(kept)
