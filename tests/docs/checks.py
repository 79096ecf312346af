"""The checks of each page. A check yields a sentence for each problem."""

from __future__ import annotations

import ast
import difflib
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import hcl2
import jsonschema
import yaml

from cloudroute import cli
from cloudroute.commands.help import command_settings
from cloudroute.config import CONFIG_FLAG, settings_of
from cloudroute.config.settings import ALL_SETTINGS
from cloudroute.telemetry import AgentTelemetry, ControllerTelemetry
from tests.docs.cloudroute_words import problems_of
from tests.docs.pages import ROOT, Block, Page, pages
from tests.docs.shell import SHELLS, assignments, commands, script

Problems = Iterator[str]
Check = Callable[[Page], Problems]

CHART = ROOT / "deploy" / "chart"
TREES = ("cloudroute", "deploy", "docs", "terraform", "tests")
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")
OTHER_VARIABLES = ("CLOUDROUTE_CONFIG", "CLOUDROUTE_REQUIRE")
_KUBECTL_NAMES = ("exec", "logs", "rollout", "get", "describe", "scale", "wait", "port-forward", "set", "delete")

_OBJECT = re.compile(r"cloudroute/cloudroute-[a-z]+$")
"""A ServiceAccount or the like as namespace/name."""


# --- links ----------------------------------------------------------------------------------------


def links(page: Page) -> Problems:
    """A link inside the repository leads to a file or folder, its anchor to a heading; others are https."""
    for link in page.links:
        target, _, anchor = link.target.partition("#")
        if re.match(r"[a-z]+:", target):
            if not target.startswith(("https://", "mailto:")):
                yield f"line {link.line}: {target}: not https"
            continue
        path = ((ROOT / page.name).parent / target).resolve()
        if not path.is_relative_to(ROOT):
            yield f"line {link.line}: {link.target}: outside of the repository"
        elif not path.exists():
            yield f"line {link.line}: {link.target}: no such file"
        elif anchor and anchor not in _anchors(page, path.relative_to(ROOT).as_posix() if target else page.name):
            yield f"line {link.line}: {link.target}: no such heading"


def _anchors(page: Page, name: str) -> set[str]:
    return page.anchors if name == page.name else _anchors_of_all().get(name, set())


@cache
def _anchors_of_all() -> Mapping[str, set[str]]:
    return {page.name: page.anchors for page in pages()}


# --- blocks that have a grammar -------------------------------------------------------------------


def blocks(page: Page) -> Problems:
    """Each block parses in its language: YAML, JSON, Python, HCL, shell."""
    for block in page.blocks:
        parse = _PARSERS.get(block.language)
        if parse is None:
            continue
        try:
            parse(block.text if block.language not in SHELLS else script(block))
        except Exception as error:  # noqa: BLE001 - each parser has errors of its own
            yield f"line {block.line}: not {block.language}: {str(error).splitlines()[0]}"


def _bash(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    if done.returncode:
        raise ValueError(done.stderr.strip())


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "json": json.loads,
    "python": ast.parse,
    "hcl": hcl2.loads,
    "terraform": hcl2.loads,
    **dict.fromkeys(SHELLS, _bash),
}


def _documents(block: Block) -> list[Any]:
    """The documents of a YAML block; none where it is not YAML, which `blocks` says."""
    try:
        return list(yaml.safe_load_all(block.text)) if block.language == "yaml" else []
    except yaml.YAMLError:
        return []


# --- our own commands and settings ----------------------------------------------------------------


def cloudroute(page: Page) -> Problems:
    """Each `cloudroute ...` is accepted by the program's own parser: in blocks wholly, in a sentence its words."""
    environment: dict[str, str] = {}
    for block in page.blocks:
        if block.language not in SHELLS:
            continue
        environment |= assignments(block)
        for command in commands(block):
            for words in _calls(command):
                yield from (f"line {block.line}: {problem}" for problem in problems_of(words, environment))
    for code, line in page.words:
        if code.startswith("cloudroute "):
            yield from (f"line {line}: {problem}" for problem in problems_of(code.split()[1:], None))


def _calls(command: list[str]) -> Iterator[list[str]]:
    """The arguments of `cloudroute`, where it is the command, or the one of `kubectl exec ... --`."""
    if command[0].rsplit("/", 1)[-1] == "cloudroute":
        yield command[1:]
    elif "--" in command and command[command.index("--") + 1 :][:1] == ["cloudroute"]:
        yield command[command.index("--") + 2 :]


def variables(page: Page) -> Problems:
    """Each CLOUDROUTE_... is a setting."""
    known = {setting.variable for kind in ALL_SETTINGS for setting in settings_of(kind)} | set(OTHER_VARIABLES)
    for name in sorted(set(re.findall(r"\bCLOUDROUTE_[A-Z0-9_]+\b", page.text)) - known):
        yield f"{name}: no setting"


def flags(page: Page) -> Problems:
    """A flag in a sentence that resembles one of ours must be one of ours."""
    known = {setting.flag for command in cli.commands() for setting in command_settings(command)} | {CONFIG_FLAG}
    for code, line in page.words:
        for flag in re.findall(r"(?<!\S)--[a-z][-a-z0-9]*", code):
            near = difflib.get_close_matches(flag, known, 1, cutoff=0.85)
            if near and flag not in known:
                yield f"line {line}: {flag}: did you mean {near[0]}?"


def files(page: Page) -> Problems:
    """YAML for --config has settings for keys; YAML that is values of the chart fits its schema."""
    known = {setting.key for kind in ALL_SETTINGS for setting in settings_of(kind)}
    schema = _schema()
    for block in page.blocks:
        for document in _documents(block):
            if not isinstance(document, dict):
                continue
            if document.keys() & {"cluster-cidr", "cluster-name", "route-limit", "node-name"}:
                yield from (f"line {block.line}: {key}: no setting" for key in document if key not in known)
            elif _is_values(document, schema):
                errors = jsonschema.Draft7Validator(_without_required(schema)).iter_errors(document)
                yield from (f"line {block.line}: values: {error.json_path}: {error.message}" for error in errors)


@cache
def _schema() -> Any:
    return json.loads((CHART / "values.schema.json").read_text())


def _is_values(document: Mapping[str, object], schema: Any) -> bool:
    return set(document) <= set(schema["properties"])


def _without_required(schema: Any) -> Any:
    """A block may show a part of the values."""
    return {key: value for key, value in schema.items() if key != "required"}


# --- other programs -------------------------------------------------------------------------------


def make(page: Page) -> Problems:
    """Each `make X` is a target."""
    targets = set(re.findall(r"^([a-z][-a-z]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words, line in _typed(page):
        if words[0] == "make":
            named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            yield from (f"line {line}: make {word}: no such target" for word in named if word not in targets)


def helm(page: Page) -> Problems:
    """Each key that `helm --set` names is in the chart's schema."""
    for words, line in _typed(page):
        if words[0] != "helm" or not any("deploy/chart" in word for word in words):
            continue
        for flag, value in itertools.pairwise(words):
            if flag in ("--set", "--set-string", "--set-json"):
                keys = re.findall(r"(?:^|,)([A-Za-z][^=,{}]*)=", value)
                yield from (f"line {line}: --set {key}: not in the schema" for key in keys if not _has(_schema(), key))


def _has(schema: Any, key: str) -> bool:
    """Whether a schema has the key that --set names."""
    for name in re.split(r"(?<!\\)\.", re.sub(r"\[\d+\]", "[]", key)):
        plain = name.replace("\\.", ".").removesuffix("[]")
        properties, extra = (
            schema.get("properties", {}),
            schema.get("additionalProperties", not schema.get("properties")),
        )
        if plain in properties:
            schema = properties[plain]
        else:
            return bool(extra)
    return True


def _typed(page: Page) -> Iterator[tuple[list[str], int]]:
    """Every command of the blocks and of code within sentences, in words."""
    for block in page.blocks:
        if block.language in SHELLS:
            yield from ((words, block.line) for words in commands(block))
    for code, line in page.words:
        if code.startswith(("make ", "helm ")):
            yield code.split(), line


# --- names ----------------------------------------------------------------------------------------


def metrics(page: Page) -> Problems:
    """Each cloudroute_... is a metric."""
    known = metric_names()
    inside = [(block.text, block.line) for block in page.blocks if block.language not in ("hcl", "terraform")]
    for text, line in (*page.words, *inside):
        for name in re.findall(r"(?<![-\w./])cloudroute_[a-z0-9_]+\b", text):
            if name not in known and not name.endswith("_"):
                yield f"line {line}: {name}: no metric"


@cache
def metric_names() -> frozenset[str]:
    """Every series of controller and agent, by each of its names in Prometheus."""
    registries = (ControllerTelemetry().registry, AgentTelemetry().registry)
    names = {metric.name for registry in registries for metric in registry.collect()}
    return frozenset(names | {name + suffix for name in names for suffix in SUFFIXES})


def paths(page: Page) -> Problems:
    """Each path of the form of this repository's exists."""
    named = [(code, line) for code, line in page.words if " " not in code]
    for block in page.blocks:
        if block.language in SHELLS:
            for words in commands(block):
                if words[0] != "kubectl" or not set(words) & set(_KUBECTL_NAMES):
                    named += [(word, block.line) for word in words]
    for word, line in named:
        looks = re.match(rf"(\./)?({'|'.join(TREES)})/[-\w./*]+$", word) and not _OBJECT.match(word)
        if looks and not _exists(word):
            yield f"line {line}: {word}: no such file"


def _exists(word: str) -> bool:
    return any(True for _ in ROOT.glob(word.removeprefix("./").rstrip("/")))


CHECKS: tuple[Check, ...] = (links, blocks, cloudroute, variables, flags, files, make, helm, metrics, paths)
