"""Questions from one line of stdin, a line of JSON for each answer, in the order in which they come.

A question is an object with `id`, `kind` and the keyword arguments of that kind's function; durations in seconds, sizes
in bytes. An answer has `id`, `ok`, and what that function returns, or `error` and `code` (see `failure`).
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Mapping
from typing import Any

from cloudroute.probe.failure import Failed, failure

MOST_AT_ONCE = 16


def main() -> int:
    """Run the command; returns the exit code: 2 where stdin is no list of questions, else 0."""
    try:
        questions = _parse(sys.stdin.readline())
    except ValueError as error:
        sys.stderr.write(f"stdin is no list of questions in JSON: {error}\n")
        return 2
    waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    for question in questions:
        waiting.put(question)
    lock = threading.Lock()

    def work() -> None:
        while (question := waiting.get()) is not None:
            line = json.dumps({"id": question.pop("id"), **answer(question)})
            with lock:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()

    threads = [threading.Thread(target=work) for _ in range(min(MOST_AT_ONCE, len(questions)))]
    for thread in threads:
        waiting.put(None)
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question, both without their `id`. Never raises."""
    fields = dict(question)
    try:
        return {"ok": True, **_ask(str(fields.pop("kind", "")), fields)}
    except Exception as error:  # noqa: BLE001 - the other questions must be answered all the same
        return failure(error)


def _parse(line: str) -> list[dict[str, Any]]:
    questions = json.loads(line)
    if not isinstance(questions, list):
        raise ValueError("it is no list")
    for question in questions:
        if not isinstance(question, dict) or not isinstance(question.get("id"), int):
            raise ValueError(f"{json.dumps(question)[:100]} has no id")
    return questions


def _ask(kind: str, fields: dict[str, Any]) -> Mapping[str, Any]:
    match kind:
        case "udp" | "tcp" | "connect":
            from cloudroute.probe import echo

            return echo.KINDS[kind](**fields)
        case "stream":
            from cloudroute.probe.stream import stream

            return stream(**fields)
        case "http" | "https":
            from cloudroute.probe.web import request

            return request(kind, **fields)
        case "dns":
            from cloudroute.probe.dns import resolve

            return resolve(**fields)
        case "self":
            from cloudroute.probe.own import describe

            return describe(**fields)
        case "state":
            from cloudroute.probe.state import read

            return read(**fields)
    raise Failed("other", f"there is no kind of question {kind!r}")
