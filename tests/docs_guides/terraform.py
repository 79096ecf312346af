"""The tables of inputs and outputs in the READMEs below terraform/, from variables.tf and outputs.tf.

python -m tests.docs_guides.terraform --write          puts them there
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import hcl2

TREE = Path(__file__).parents[2] / "terraform"
FOLDERS = sorted(str(path.parent.relative_to(TREE)) for path in TREE.glob("*/*/variables.tf"))
_SECTION = re.compile(r"^## Inputs\n.*", re.MULTILINE | re.DOTALL)
"""The end of a README."""


def blocks(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    """The `variable` or `output` blocks of a folder by name, in the order of their file."""
    parsed = hcl2.loads((TREE / folder / f"{kind}s.tf").read_text())
    return {name.strip('"'): body for block in parsed[kind] for name, body in block.items()}


def tables(folder: str) -> str:
    """The sections Inputs and Outputs of a folder's README."""
    inputs = [
        f"| `{name}` | `{_type(body['type'])}` | {_default(body)} | {_words(body['description'])} |\n"
        for name, body in blocks(folder, "variable").items()
    ]
    outputs = [f"| `{name}` | {_words(body['description'])} |\n" for name, body in blocks(folder, "output").items()]
    return (
        "## Inputs\n\n| name | type | default | what it is |\n| --- | --- | --- | --- |\n" + "".join(inputs) + "\n"
        "## Outputs\n\n| name | what it is |\n| --- | --- |\n" + "".join(outputs)
    )


def written(folder: str) -> str:
    """Return the part of a README that the generator writes."""
    found = _SECTION.search((TREE / folder / "README.md").read_text())
    return found[0] if found else ""


def write(folder: str) -> None:
    """Put them at the README's end."""
    readme = TREE / folder / "README.md"
    readme.write_text(_SECTION.sub("", readme.read_text()).rstrip() + "\n\n" + tables(folder))


def _default(body: dict[str, Any]) -> str:
    return f"`{json.dumps(_plain(body['default']))}`" if "default" in body else "required"


def _plain(value: Any) -> Any:
    """A value without the quotes that hcl2 leaves around strings."""
    if isinstance(value, str):
        return json.loads(value) if value.startswith('"') else value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {name.strip('"'): _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def _type(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"^\$\{(.*)\}$", r"\1", text, flags=re.DOTALL)).strip('"')


def _words(description: str) -> str:
    text = str(json.loads(description)).replace("<", "\\<").replace("|", "\\|")
    return re.sub(r"(?<!`)--[a-z][a-z-]*", r"`\g<0>`", text)  # a site makes one long dash of two short ones


if __name__ == "__main__":
    for each in FOLDERS:
        if "--write" in sys.argv:
            write(each)
        else:
            sys.stdout.write(f"# {each}\n\n{tables(each)}\n")
