"""Others' words, made fit for a terminal, a log line and an Event: pure.

Others' words are all that cloudroute did not write itself: an agent's message, what AWS or Kubernetes answers, names
and annotations, a kernel's or a plugin's error, a flag's value. They pass `one_line` where they leave the process
(`commands/output.py`, `telemetry/logs.py`, `adapters/kube/events.py`), so that nothing inside has to think of it.
JSON and YAML escape by themselves, and keep every word exact.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """The text with each character escaped that ends a line, steers a terminal, turns text around or can't be seen.

    These are Unicode's control, format, surrogate, private and unassigned characters, and all separators but the
    space. The escape is Python's own; nothing is left out.

    >>> one_line("said=a\\rb\\x1b[2J"), one_line("Zürich 東京 ✓")
    ('said=a\\\\rb\\\\x1b[2J', 'Zürich 東京 ✓')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
