"""docs/reference, made from the code: flags, metrics, custom resources, the chart's values.

python -m tests.docs.reference          writes the pages
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, Metric

from cloudroute.cli import commands
from cloudroute.commands.command import Command
from cloudroute.commands.help import command_settings
from cloudroute.config import Setting
from cloudroute.dataplane import Kind
from cloudroute.telemetry import AgentTelemetry, ControllerTelemetry
from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "reference"
CRDS = ROOT / "cloudroute" / "crds"
CHART = ROOT / "deploy" / "chart"
HOW = "make them anew by: python -m tests.docs.reference"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "x|y"]]), end="")
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = [[re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in line] for line in lines]
    text = "".join(f"| {' | '.join(line)} |\n" for line in cells)
    return text.replace("| --- " * len(head) + "|", "|---" * len(head) + "|")


def code(text: object) -> str:
    """In backticks; nothing where there is nothing."""
    return f"`{text}`" if str(text) else ""


# --- flags ----------------------------------------------------------------------------------------


def flags() -> str:
    """Each command with its flags."""
    return "\n".join(("# Commands and flags\n", _INTRODUCTION, *map(_command, commands())))


_INTRODUCTION = """The text of `cloudroute COMMAND --help`, in one page. A flag wins over the environment, which
wins over the file that `--config` names, which wins over the default. `--route-limit` is CLOUDROUTE_ROUTE_LIMIT in
the environment (several values: comma-separated) and `route-limit` in the file (several values: a list). Flags of
`demo` and `lab` are flags only. All that is wrong with the three is reported at once, and the exit code is 2.
"""


def _command(command: Command) -> str:
    words = "".join(f" {word}" for word in command.words)
    parts = [f"## cloudroute {command.name}\n", textwrap.fill(command.text, 120, break_on_hyphens=False) + "\n"]
    parts.append(f"```console\n{''.join(f'$ {line}' + chr(10) for line in command.example.splitlines())}```\n")
    if words:
        parts.append(f"After the flags: `{words.strip()}`.\n")
    settings = command_settings(command)
    for group, members in groupby(sorted(settings, key=_groups(settings)), key=lambda setting: setting.group):
        parts.append(table([group, "meaning", "default"], map(_flag, members)))
    return "\n".join(parts)


def _groups(settings: Sequence[Setting]) -> Callable[[Setting], int]:
    order = list(dict.fromkeys(setting.group for setting in settings))
    return lambda setting: order.index(setting.group)


def _flag(setting: Setting) -> tuple[str, str, str]:
    value = f"[{setting.reader.metavar}]" if setting.bare else setting.reader.metavar
    names = ", ".join(filter(None, (setting.short, setting.flag)))
    unit = f" {setting.unit}" if setting.unit else ""
    meaning = setting.meaning + (" May be repeated." if setting.repeatable else "")
    why = f"; {setting.why}" if setting.why else ""
    return code(f"{names} {value}"), meaning, (code(setting.shown_default) or "none") + unit + why


# --- metrics --------------------------------------------------------------------------------------


def metrics() -> str:
    """Every series of controller and agent."""
    return "\n".join(
        (
            "# Metrics\n",
            _METRICS,
            "## Controller\n",
            table(_METRIC, _series(ControllerTelemetry().registry)),
            _LABELS,
            "## Agent\n",
            table(_METRIC, _series(AgentTelemetry().registry)),
            f"`kind` is one of {', '.join(code(kind) for kind in _kinds())}. `peer` is the other node's name.\n",
        )
    )


_METRICS = """On `--listen` (10256 by default; in the chart 10456 for the controller and 10457 for agents) `/metrics`
answers in Prometheus' text format, `/healthz` and `/readyz` with 200, or with 503 and why. A standby answers 200 on
both, with `cloudroute_leader` 0.
"""
_LABELS = """`family` is `ipv4` or `ipv6`, `state` is `ours`, `foreign` or `blackhole`; `code` is `OK` or AWS's error
code, and each attempt counts. `path` of `cloudroute_nodes` is `native` (routed in every table that nodes of
other subnets send by), `partial` (in some), `overlay` (in none) or `direct` (all other nodes are on its subnet).
`cloudroute_pairs` counts each two nodes once, by the path between them: `native`, `direct` or `overlay`.
"""
_METRIC = ("metric", "type", "labels", "meaning")


def _kinds() -> Sequence[str]:
    return Kind.__args__  # type: ignore[attr-defined,no-any-return] # a Literal's values


def _series(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    for metric in sorted(registry.collect(), key=lambda metric: metric.name):
        name = metric.name + ("_total" if metric.type == "counter" else "")
        yield code(name), metric.type, ", ".join(map(code, _labels(registry, metric))), metric.documentation


def _labels(registry: CollectorRegistry, metric: Metric) -> Sequence[str]:
    """Label names: in the collector of a counter, in the metric itself where it is made at each scrape."""
    for collector, names in registry._collector_to_names.items():
        if metric.name in names and hasattr(collector, "_labelnames"):
            return tuple(collector._labelnames)
    return tuple(getattr(metric, "_labelnames", ()))


# --- custom resources -----------------------------------------------------------------------------


def crds() -> str:
    """Both kinds, with every field."""
    kinds = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return "\n".join(("# Custom resources\n", _CRDS, *map(_kind, kinds)))


_CRDS = """Controller and agents meet only in these two kinds. The controller writes both, agents the status of their
own node's NodeRoute; people write neither, and read them with `kubectl get nr` and `kubectl get rtb`.
`cloudroute crd` prints the definitions.
"""


def _kind(crd: Mapping[str, Any]) -> str:
    names = crd["spec"]["names"]
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    columns = version["additionalPrinterColumns"]
    shown = [
        (column["name"].upper(), code(column["jsonPath"]), _wide(column) + column.get("description", ""))
        for column in columns
    ]
    return "\n".join(
        (
            f"## {names['kind']}\n",
            f"`{crd['spec']['group']}/{version['name']}`, cluster-scoped, short name `{names['shortNames'][0]}`. "
            f"{schema['description']}\n",
            table(["field", "type", "meaning"], _fields(schema, "")),
            "`kubectl get` shows:\n",
            table(["column", "from", "meaning"], shown),
        )
    )


def _wide(column: Mapping[str, Any]) -> str:
    return "With `-o wide`. " if column.get("priority") else ""


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield code(path), _type(field), _meaning(field, required=name in required)
        yield from _fields(field, path)
        yield from _fields(field.get("items", {}), f"{path}[]")


def _type(field: Mapping[str, Any]) -> str:
    kind = f"list of {field['items']['type']}s" if field["type"] == "array" else str(field["type"])
    return kind + (f" ({field['format']})" if field.get("format") == "date-time" else "")


def _meaning(field: Mapping[str, Any], *, required: bool) -> str:
    words = [str(field.get("description", ""))]
    if "enum" in field:
        words.append(f"One of {', '.join(map(code, field['enum']))}.")
    if required:
        words.append("Required.")
    return " ".join(words)


# --- chart ----------------------------------------------------------------------------------------


def chart() -> str:
    """Every value, with its default and the comment beside it."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    rows = list(_values(schema, yaml.safe_load(text), comments(text), ""))
    return "\n".join(("# Values of the chart\n", _CHART, table(["value", "accepts", "default", "meaning"], rows)))


_CHART = """Of `deploy/chart`; `settings.cluster-cidr` is the one that has to be given. Keys under `settings`,
`controller.settings` and `agent.settings` are [flags](flags.md), by the same names, and nothing is translated. A wrong
key or value is refused before anything is sent to the cluster. No default: what the program has for one.
"""


def comments(text: str) -> dict[str, str]:
    """Comments above each key of values.yaml, by the key's path, without commented-out examples.

    >>> comments("# All.\\na:\\n  # One.\\n  b: 1\\n  # Two,\\n  # of two.\\n  c: {}\\n  #   d: 1\\n")
    {'a': 'All.', 'a.b': 'One.', 'a.c': 'Two, of two.'}
    """
    found: dict[str, str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"^( *)# ?(\S.*)$", line):
            above.append(match.group(2))
        elif match := re.match(r"^( *)([A-Za-z][-\w]*):", line):
            path = [*path[: len(match.group(1)) // 2], match.group(2)]
            if above:
                found[".".join(path)] = " ".join(above)
            above = []
        else:
            above = []
    return found


def _values(
    schema: Mapping[str, Any], defaults: Any, said: Mapping[str, str], prefix: str
) -> Iterator[tuple[str, ...]]:
    for name, field in schema["properties"].items():
        path = f"{prefix}.{name}" if prefix else name
        default = defaults.get(name) if isinstance(defaults, dict) else None
        meaning = said.get(path) or field.get("description") or _flags_meaning(path)
        if name == "global":
            continue
        if "properties" in field and path not in _WHOLE:
            if path in said:
                yield code(path), "", "", meaning
            yield from _values(field, default, said, path)
        else:
            yield code(path), _accepts(field), _default(default), meaning


_WHOLE = ("controller.resources", "agent.resources", "networkPolicies.resources")


def _flags_meaning(path: str) -> str:
    *group, place, name = ("", *path.split("."))[-3:]
    (command,) = (known for known in commands() if known.name == ("agent" if group == ["agent"] else "controller"))
    settings = {setting.key: setting.meaning for setting in command_settings(command)}
    return settings.get(name, "") if place == "settings" else ""


def _accepts(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(code(json.dumps(value).strip('"')) for value in field["enum"])
    if "const" in field:
        return code(field["const"])
    if "oneOf" in field:
        return " or ".join(map(_accepts, field["oneOf"]))
    least, most = field.get("minimum"), field.get("maximum")
    span = f" {least} to {most}" if most is not None else f" from {least}" if least is not None else ""
    return f"list of {field['items']['type']}s" if field.get("type") == "array" else f"{field['type']}{span}"


def _default(value: object) -> str:
    return code(json.dumps(value)) if value is not None else ""


PAGES: Mapping[str, Callable[[], str]] = {"flags": flags, "metrics": metrics, "crd": crds, "chart": chart}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / f"{name}.md").write_text(page())


if __name__ == "__main__":
    main()
