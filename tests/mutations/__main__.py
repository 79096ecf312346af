"""Run the mutations: apply each to a copy of the checkout, and run the tests that are to catch it there.

    python -m tests.mutations [--from N] [--only WORDS] [--whole]

Ends with a table by part of cloudroute. Exit codes: 0 every mutation was caught or has its reason, 1 one survived,
2 the tests fail without any mutation, or none ran.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "dist", "build", "__pycache__", ".*_cache", ".hypothesis")
WHOLE = ("tests", "cloudroute", "--ignore=tests/mutations", "--ignore=tests/docs", "--ignore=tests/release")
"""All tests that run code of cloudroute, and not its pages and files."""
LONGEST = 1800.0
"""Seconds after which tests count as hanging: a mutation may make a loop endless."""
RESULTS = CAUGHT, EXCUSED, SURVIVED = ("caught", "survives for a reason", "survived")


class Unusable(Exception):
    """No verdict can be given: the tests fail by themselves, or were all skipped."""


def failing(copy: Path, tests: Sequence[str]) -> str:
    """Run the tests in the copy; return the first that fails, "" if all pass. Raises Unusable."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    with subprocess.Popen(
        command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the servers that the tests have started
            return "a hang"
    if process.returncode == 0 and " passed" in output:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    if process.returncode in (0, 4, 5) or not found:
        raise Unusable(f"pytest {' '.join(tests)} ended with {process.returncode}:\n{output[-2000:]}")
    return found[1]


@contextmanager
def mutated(copy: Path, mutation: Mutation) -> Iterator[None]:
    """The copy with the mutation in it."""
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    try:
        _write(path, text.replace(mutation.old, mutation.new))
        yield
    finally:
        _write(path, text)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Python would take the former bytecode where size and second of the change are the same.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)


def run(copy: Path, mutations: Sequence[Mutation], *, whole: bool) -> Counter[tuple[str, str]]:
    """Run the mutations; print a line for each. Returns their number by part and result."""
    results: Counter[tuple[str, str]] = Counter()
    for number, mutation in enumerate(mutations, 1):
        start = time.monotonic()
        with mutated(copy, mutation):
            caught = failing(copy, mutation.tests) or (failing(copy, WHOLE) if whole else "")
        result = CAUGHT if caught else EXCUSED if mutation.reason else SURVIVED
        results[mutation.part, result] += 1
        words = f"caught by {caught}" if caught else mutation.reason or SURVIVED.upper()
        seconds = time.monotonic() - start
        say(f"{number}/{len(mutations)} {mutation.harm}\n    {words} in {seconds:.0f} s")
    return results


def table(results: Counter[tuple[str, str]]) -> Iterator[str]:
    """The results by part, as lines of Markdown."""
    yield f"| part | mutations | {' | '.join(RESULTS)} |"
    yield "|---|---:|---:|---:|---:|"
    for part in dict.fromkeys(part for part, _ in results):
        counts = [results[part, result] for result in RESULTS]
        yield f"| `{part}` | {sum(counts)} | {' | '.join(map(str, counts))} |"


def say(text: str) -> None:
    """Print it now, since the next line may take minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="N", help="begin with the Nth mutation")
    parser.add_argument("--only", default="", metavar="WORDS", help="only mutations with these words in their sentence")
    parser.add_argument("--whole", action="store_true", help="try survivors of their own tests against all tests")
    args = parser.parse_args()
    mutations = [one for one in MUTATIONS[args.first - 1 :] if args.only in one.harm]
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder) / "cloudroute"
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        try:
            tests = sorted({test for mutation in mutations for test in mutation.tests})
            if fails := failing(copy, tests):
                raise Unusable(f"{fails} fails without any mutation")
            results = run(copy, mutations, whole=args.whole)
        except Unusable as error:
            say(str(error))
            return 2
    say("\n".join(table(results)))
    return 1 if any(result == SURVIVED for _, result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
