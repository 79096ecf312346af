"""Values from flag, else environment, else file, else default; with all violations at once.

The idea: no step raises. Each adds sentences to one list of problems, and settings are returned only if that list
stays empty.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import yaml

from cloudroute.config.declare import Setting, Settings, settings_of
from cloudroute.config.relations import RULES
from cloudroute.config.settings import ALL_SETTINGS
from cloudroute.errors import UsageError

T = TypeVar("T")

CONFIG_FLAG = "--config"
CONFIG_VARIABLE = "CLOUDROUTE_CONFIG"

Given = Mapping[str, Sequence[str | None]]
"""By field: the values of a flag in their order, None where the flag was given without one."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One frozen object per settings class."""

    by_kind: Mapping[type, object]

    def __getitem__(self, kind: type[T]) -> T:
        return cast("T", self.by_kind[kind])


@dataclass(frozen=True, slots=True)
class _Raw:
    """The texts of one setting, and the prefix and suffix with which to quote one as it was given."""

    texts: Sequence[str]
    before: str
    after: str = ""

    def quote(self, text: str) -> str:
        return f"{self.before}{text}{self.after}".rstrip()


@dataclass(slots=True)
class _Reading:
    """Results so far, by field."""

    problems: list[str]
    values: dict[str, object] = field(default_factory=dict)
    said: dict[str, list[str]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)


def load(
    kinds: Sequence[type],
    given: Given,
    environ: Mapping[str, str],
    *,
    config: str = "",
    required: Iterable[str] = (),
    problems: Sequence[str] = (),
) -> Loaded:
    """Read every setting that the classes declare.

    `config` is the file that --config names, `required` the fields that must not be empty, `problems` the violations
    found so far. Raises UsageError with these and all that are found here.
    """
    reading = _Reading(list(problems))
    keys, place = _read_file(config or environ.get(CONFIG_VARIABLE, ""), reading.problems)
    _report_unknown_keys(keys, place, reading.problems)
    for kind in kinds:
        for setting in settings_of(kind):
            raw = _from_flag(setting, given)
            if raw is None and issubclass(kind, Settings):
                raw = _from_environment(setting, environ) or _from_file(setting, keys, place, reading)
            _read(setting, raw, reading)
    for name in required:
        if not reading.values[name] and name not in reading.unreadable:
            reading.problems.append(_missing(name))
    built = {kind: kind(**{s.field: reading.values[s.field] for s in settings_of(kind)}) for kind in kinds}
    for rule in RULES:
        for kind, settings in built.items():
            if issubclass(kind, rule.kind) and reading.unreadable.isdisjoint(rule.fields):
                reading.problems += rule.broken(settings, lambda name, index: reading.said[name][index])
    if reading.problems:
        raise UsageError(reading.problems)
    return Loaded(built)


def _missing(name: str) -> str:
    flag = name.replace("_", "-")
    return (
        f"--{flag} is missing: expected it as a flag, as CLOUDROUTE_{name.upper()} or in the file that --config names"
    )


def _from_flag(setting: Setting, given: Given) -> _Raw | None:
    texts = given.get(setting.field, ())
    if not texts:
        return None
    # A flag without the value that it needs is read as "", which no reader accepts.
    words = [text if text is not None else setting.bare or "" for text in texts]
    return _Raw(words if setting.repeatable else words[-1:], f"{setting.flag} ")


def _from_environment(setting: Setting, environ: Mapping[str, str]) -> _Raw | None:
    text = environ.get(setting.variable, "")
    # An empty variable counts as unset, since a manifest can only set a variable to "" and not leave it out.
    if not text:
        return None
    texts = [part.strip() for part in text.split(",")] if setting.repeatable else [text]
    return _Raw(texts, f"{setting.variable}=")


def _from_file(setting: Setting, keys: Mapping[str, object], place: str, reading: _Reading) -> _Raw | None:
    if setting.key not in keys:
        return None
    value = keys[setting.key]
    items = value if isinstance(value, list) else [value]
    raw = _Raw([str(item) for item in items], f"{setting.key}: ", f" (in {place})")
    if not isinstance(value, list if setting.repeatable else str):
        expected = "a list" if setting.repeatable else "one value"
        reading.problems.append(f"{raw.quote(str(value))}: expected {expected}")
        reading.unreadable.add(setting.field)
        return None
    return raw


def _read(setting: Setting, raw: _Raw | None, reading: _Reading) -> None:
    if raw is None:
        reading.values[setting.field] = setting.default
        reading.said[setting.field] = [f"{setting.flag} {setting.shown_default} (the default)"]
        return
    values = []
    for text in raw.texts:
        try:
            values.append(setting.reader.read(text))
        except ValueError as error:
            reading.problems.append(f"{raw.quote(text)}: {error if text else f'no value, {error}'}")
            reading.unreadable.add(setting.field)
    reading.said[setting.field] = [raw.quote(text) for text in raw.texts]
    whole = setting.field not in reading.unreadable
    reading.values[setting.field] = setting.default if not whole else tuple(values) if setting.repeatable else values[0]


def _read_file(path: str, problems: list[str]) -> tuple[Mapping[str, object], str]:
    if not path:
        return {}, ""
    try:
        with open(path, encoding="utf-8") as file:
            # BaseLoader keeps words as they were written: other loaders turn `direct-routing: off` into False.
            content = yaml.load(file, yaml.BaseLoader)  # noqa: S506 - it makes only str, lists and mappings
    except OSError as error:
        problems.append(f"{CONFIG_FLAG} {path}: can't be read: {error.strerror}")
        return {}, path
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{CONFIG_FLAG} {path}: expected YAML: {' '.join(str(error).split())}")
        return {}, path
    if not content:
        return {}, path
    if not isinstance(content, dict):
        problems.append(f"{CONFIG_FLAG} {path}: expected keys and values like 'route-limit: 100'")
        return {}, path
    return content, path


def _report_unknown_keys(keys: Mapping[str, object], place: str, problems: list[str]) -> None:
    known = {setting.key for kind in ALL_SETTINGS for setting in settings_of(kind)}
    problems += (f"{key}: unknown key (in {place}){suggestion(key, known)}" for key in keys if key not in known)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ": did you mean ...?" where a known word is similar, else "".

    >>> suggestion("route_limit", ["route-limit", "region"])
    ': did you mean route-limit?'
    """
    near = difflib.get_close_matches(word, list(known), 1)
    return f": did you mean {near[0]}?" if near else ""
