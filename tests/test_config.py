"""Settings: sources of values, parsing, relations, and all problems reported at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cloudroute.config import (
    Address,
    AgentSettings,
    ControllerSettings,
    OutputSettings,
    Setting,
    check_against_vpc,
    check_overlap,
    load,
    settings_of,
)
from cloudroute.errors import UsageError
from cloudroute.selector import Selector
from cloudroute.types import Cidr

KINDS = (ControllerSettings, OutputSettings)
SETTINGS = [setting for kind in KINDS for setting in settings_of(kind)]
BY_FIELD = {setting.field: setting for setting in SETTINGS}

GOOD = {
    "cluster_name": ("prod", "prod"),
    "cluster_cidr": ("10.244.0.0/16", (Cidr.parse("10.244.0.0/16"),)),
    "node_mask_v4": ("26", 26),
    "node_mask_v6": ("96", 96),
    "kubeconfig": ("/etc/kubeconfig", "/etc/kubeconfig"),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
    "listen": ("127.0.0.1:0", Address("127.0.0.1", 0)),
    "region": ("us-gov-west-1", "us-gov-west-1"),
    "vpc_id": ("vpc-0a1b2c3d4e5f67890", "vpc-0a1b2c3d4e5f67890"),
    "route_table": ("rtb-0a1b2c3d", ("rtb-0a1b2c3d",)),
    "route_limit": ("auto", "auto"),
    "route_reserve": ("5", 5),
    "direct_routing": ("off", "off"),
    "overlay": ("off", False),
    "resync_seconds": ("30.5", 30.5),
    "settle_seconds": ("0", 0.0),
    "drain_seconds": ("0.5", 0.5),
    "reserved_cidr": ("10.244.1.0/24", (Cidr.parse("10.244.1.0/24"),)),
    "node_selector": ("pool in (a, b),!old", Selector.parse("pool in (a, b),!old")),
    "gateway_nodes": ("role=gateway", Selector.parse("role=gateway")),
    "gateway_routes": ("4", 4),
    "gateway_lease_seconds": ("5", 5.0),
    "leader_elect": ("false", False),
    "lease_duration": ("20", 20),
    "renew_deadline": ("12", 12.0),
    "retry_period": ("1", 1.0),
    "namespace": ("net", "net"),
    "status_page": ("off", False),
    "once": ("true", True),
    "output": ("yaml", "yaml"),
}
"""By field: a text that is not the default, and the value it stands for."""

BAD = {
    "cluster_name": ["with space", "-x", "x" * 101],
    "cluster_cidr": ["10.0.0.0", "10.0.0.0/33", "10.0.4.7/16", "fd00::1/48", "x", "10.0.0.0/255.0.0.0", "127.0.0.0/9"],
    "node_mask_v4": ["15", "29", "x", "24.0", "+24", "\uff11\uff18"],
    "node_mask_v6": ["47", "121", "/80"],
    "kubeconfig": ["a\nb"],
    "log_format": ["xml", "JSON"],
    "log_level": ["trace", "INFO"],
    "listen": ["10256", ":65536", "::1:80", "host:", "http://x:1"],
    "region": ["eu-central-1a", "europe", "EU-CENTRAL-1"],
    "vpc_id": ["vpc-1", "rtb-0a1b2c3d", "vpc-0A1B2C3D"],
    "route_table": ["rtb-1", "vpc-0a1b2c3d"],
    "route_limit": ["0", "1001", "-1", "Auto", "1e3"],
    "route_reserve": ["-1", "1000", "50%"],
    "direct_routing": ["on", "true"],
    "overlay": ["yes", "1"],
    "resync_seconds": ["0", "3601", "60s", "nan", "inf"],
    "settle_seconds": ["-1", "-0.5", "601"],
    "drain_seconds": ["-1", "601", "ten"],
    "reserved_cidr": ["10.244.0.1/16", "x"],
    "node_selector": ["pool in a", "=a", "pool>1", "Upper.io/pool", "a,"],
    "gateway_nodes": ["role in gateway", "=x"],
    "gateway_routes": ["0", "3", "16", "x", "01"],
    "gateway_lease_seconds": ["1.9", "61", "3s"],
    "leader_elect": ["yes", "on"],
    "lease_duration": ["2", "3601", "15.5"],
    "renew_deadline": ["0", "3601", "x"],
    "retry_period": ["0", "601", "x"],
    "namespace": ["Upper", "-x", "a.b", "x" * 64],
    "status_page": ["yes", "1"],
    "once": ["1", "on"],
    "output": ["xml", "wide"],
}
"""By field: texts that are not valid."""

YAML_SPECIAL = re.compile("[:\n]")

EACH = pytest.mark.parametrize("field", sorted(BY_FIELD))


def problems_of(
    given: dict[str, list[str | None]],
    environ: dict[str, str] | None = None,
    config: Path | None = None,
    required: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Problems that load() reports; () when there are none."""
    try:
        load(KINDS, given, environ or {}, config=str(config or ""), required=required)
    except UsageError as error:
        return error.problems
    return ()


def value_of(field: str, given: dict[str, list[str | None]], environ: dict[str, str], config: str = "") -> object:
    """The value that load() returns for one field. A pool is set, for the settings that need one."""
    pool: dict[str, list[str | None]] = {} if field == "cluster_cidr" else {"cluster_cidr": ["10.244.0.0/16"]}
    loaded = load(KINDS, {**pool, **given}, environ, config=config)
    return getattr(loaded[OutputSettings if field == "output" else ControllerSettings], field)


def in_file(tmp_path: Path, content: dict[str, object]) -> Path:
    """A file as a person writes it: numbers, on and off without quotes, which only stand where YAML needs them."""
    path = tmp_path / "cloudroute.yaml"
    lines = [
        f"{key}: {json.dumps(value) if YAML_SPECIAL.search(str(value)) else value or ''}"
        for key, value in content.items()
    ]
    path.write_text("\n".join(lines))
    return path


def as_file_value(setting: Setting, text: str) -> object:
    """The value as a file has it: a list for a repeatable setting."""
    return [text] if setting.repeatable else text


def test_the_tables_of_this_file_name_every_setting() -> None:
    """The tables of this file name every setting, so that a new one is tested, too."""
    assert set(GOOD) == set(BAD) == set(BY_FIELD)


@EACH
def test_each_setting_is_read_from_flag_environment_and_file(field: str, tmp_path: Path) -> None:
    """The same text gives the same value from flag, environment and file."""
    text, value = GOOD[field]
    setting = BY_FIELD[field]
    assert value != setting.default
    assert value_of(field, {field: [text]}, {}) == value
    assert value_of(field, {}, {setting.variable: text}) == value
    path = in_file(tmp_path, {setting.key: as_file_value(setting, text)})
    assert value_of(field, {}, {}, str(path)) == value
    assert value_of(field, {}, {"CLOUDROUTE_CONFIG": str(path)}) == value


@EACH
def test_a_flag_wins_over_the_environment_and_that_over_the_file(field: str, tmp_path: Path) -> None:
    """flag > environment > file > default: a value of lower precedence is not parsed."""
    setting = BY_FIELD[field]
    text, value = GOOD[field]
    bad = BAD[field][0]
    path = str(in_file(tmp_path, {setting.key: as_file_value(setting, bad)}))
    assert value_of(field, {field: [text]}, {setting.variable: bad}, path) == value
    assert value_of(field, {}, {setting.variable: text}, path) == value
    if field != "cluster_cidr":
        assert value_of(field, {}, {}) == setting.default


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in BAD.items() for text in texts])
def test_a_value_that_cannot_be_read_is_named_as_it_was_given(field: str, text: str, tmp_path: Path) -> None:
    """The problem names flag, variable or key, the value, and what was expected."""
    setting = BY_FIELD[field]
    path = in_file(tmp_path, {setting.key: [text] if setting.repeatable else text})
    for problems, name in (
        (problems_of({field: [text]}), f"{setting.flag} {text}: "),
        (problems_of({}, {setting.variable: text}), f"{setting.variable}={text}: "),
        (problems_of({}, {}, path), f"{setting.key}: {text} (in {path}): "),
    ):
        assert len(problems) == 1
        assert problems[0].startswith(name)
        assert "expected" in problems[0]


@EACH
def test_a_flag_without_its_value_says_what_was_expected(field: str) -> None:
    """A flag without its value is refused, except switches."""
    setting = BY_FIELD[field]
    if setting.bare:
        assert value_of(field, {field: [None]}, {}) == setting.reader.read(setting.bare)
    else:
        (problem,) = problems_of({field: [None]})
        assert problem.startswith(f"{setting.flag}: no value, expected ")


@EACH
def test_a_file_value_of_the_wrong_shape_is_reported(field: str, tmp_path: Path) -> None:
    """Repeatable settings are lists, the others are not, and nothing may be empty or a mapping."""
    setting = BY_FIELD[field]
    for value in (GOOD[field][0] if setting.repeatable else [GOOD[field][0]], {"a": 1}, None):
        (problem,) = problems_of({}, {}, in_file(tmp_path, {setting.key: value}))
        assert problem.startswith(f"{setting.key}:")
        assert "expected" in problem


def test_an_empty_variable_is_unset() -> None:
    """An empty variable counts as unset: a manifest can set it to "", but not leave it out."""
    assert value_of("route_limit", {}, {"CLOUDROUTE_ROUTE_LIMIT": ""}) == 50


def test_repeatable_settings_keep_their_order_and_families_rank_by_it(tmp_path: Path) -> None:
    """A node's pod CIDRs come in the order in which their families first appear."""
    pools = ["fd00:10:244::/48", "10.244.0.0/16", "10.245.0.0/16"]
    path = in_file(tmp_path, {"cluster-cidr": pools})
    for loaded in (
        load(KINDS, {"cluster_cidr": pools}, {}),
        load(KINDS, {}, {"CLOUDROUTE_CLUSTER_CIDR": ", ".join(pools)}),
        load(KINDS, {}, {}, config=str(path)),
    ):
        settings = loaded[ControllerSettings]
        assert [str(pool) for pool in settings.cluster_cidr] == pools
        assert settings.families == ("ipv6", "ipv4")
        assert (settings.node_mask("ipv4"), settings.node_mask("ipv6")) == (24, 80)


RELATIONS: list[tuple[str, dict[str, list[str | None]], str, str]] = [
    ("pool smaller than a node's CIDR", {"cluster_cidr": ["10.0.0.0/25"]}, "--cluster-cidr 10.0.0.0/25", "/24"),
    (
        "v6 pool smaller than a node's CIDR",
        {"cluster_cidr": ["fd00::/72"], "node_mask_v6": ["64"]},
        "--cluster-cidr fd00::/72",
        "--node-mask-v6 64 makes a /64",
    ),
    (
        "pools overlap",
        {"cluster_cidr": ["10.0.0.0/8", "192.168.0.0/16", "10.1.0.0/16"]},
        "--cluster-cidr 10.1.0.0/16",
        "--cluster-cidr 10.0.0.0/8",
    ),
    ("pool nobody routes", {"cluster_cidr": ["169.254.0.0/17"]}, "--cluster-cidr 169.254.0.0/17", "169.254.0.0/16"),
    (
        "reserved outside of the pools",
        {"cluster_cidr": ["10.0.0.0/16"], "reserved_cidr": ["10.1.0.0/24"]},
        "--reserved-cidr 10.1.0.0/24",
        "10.0.0.0/16",
    ),
    (
        "reserved larger than the pool",
        {"cluster_cidr": ["10.0.0.0/16"], "reserved_cidr": ["10.0.0.0/8"]},
        "--reserved-cidr 10.0.0.0/8",
        "10.0.0.0/16",
    ),
    ("reserve takes all", {"route_reserve": ["50"]}, "--route-reserve 50", "--route-limit 50 (the default)"),
    (
        "lease shorter than the deadline",
        {"lease_duration": ["9"]},
        "--lease-duration 9",
        "--renew-deadline 10 (the default)",
    ),
    ("no margin for AWS", {"renew_deadline": ["13.5"]}, "--lease-duration 15 (the default)", "at least 2 s"),
    ("one attempt per lease", {"retry_period": ["8.5"]}, "--renew-deadline 10 (the default)", "--retry-period 8.5"),
]


@pytest.mark.parametrize(
    ("given", "names", "says"), [case[1:] for case in RELATIONS], ids=[case[0] for case in RELATIONS]
)
def test_values_that_do_not_fit_together_are_reported(
    given: dict[str, list[str | None]], names: str, says: str
) -> None:
    """A broken relation names both values as given, or says that one is the default."""
    (problem,) = problems_of(given)
    assert problem.startswith(names)
    assert says in problem


def test_an_agents_mtu_is_one_that_the_families_of_its_pods_work_with() -> None:
    """IPv6 needs 1280 bytes; 1250 is what the tunnel leaves of the 1300 to a Local Zone."""
    for pool, mtu, expected in (
        ("10.244.0.0/16", "1250", ()),
        ("fd00:10:244::/48", "1280", ()),
        ("fd00:10:244::/48", "auto", ()),
        ("fd00:10:244::/48", "1279", ("--mtu 1279: expected at least 1280",)),
        ("10.244.0.0/16", "575", ("--mtu 575: expected a whole number from 576 to 65485, or auto",)),
    ):
        given: dict[str, list[str | None]] = {"cluster_cidr": [pool], "mtu": [mtu], "node_name": ["n1"]}
        try:
            load((AgentSettings,), given, {})
            problems: tuple[str, ...] = ()
        except UsageError as error:
            problems = error.problems
        assert len(problems) == len(expected)
        assert all(problem.startswith(start) for problem, start in zip(problems, expected, strict=True))


def test_relations_on_their_bounds_are_accepted() -> None:
    """Values on the bound of a relation are accepted."""
    assert problems_of({"cluster_cidr": ["10.0.0.0/24"], "reserved_cidr": ["10.0.0.0/24"]}) == ()
    assert problems_of({"route_limit": ["50"], "route_reserve": ["49"]}) == ()
    assert problems_of({"route_limit": ["auto"], "route_reserve": ["999"]}) == ()
    assert problems_of({"lease_duration": ["12"], "renew_deadline": ["10"], "retry_period": ["8.3"]}) == ()


def test_everything_wrong_is_reported_in_one_run(tmp_path: Path) -> None:
    """Flags, variables, file keys and relations together: one problem each, none hides another."""
    path = in_file(
        tmp_path, {"rout-limit": 5, "listen": "nowhere", "cluster-cidr": "10.0.0.0/8", "log-level": ["info"]}
    )
    given: dict[str, list[str | None]] = {field: [BAD[field][0]] for field in ("node_mask_v4", "vpc_id", "output")}
    given |= {"reserved_cidr": ["fd00::/64", "x"], "region": [None], "lease_duration": ["5"], "retry_period": ["9"]}
    environ = {"CLOUDROUTE_DRAIN_SECONDS": "-1", "CLOUDROUTE_ROUTE_RESERVE": "60", "CLOUDROUTE_REQUIRE": "apiserver"}
    problems = problems_of(given, environ, path, required=("cluster_cidr", "cluster_name"))
    starts = [
        f"rout-limit: unknown key (in {path}): did you mean route-limit?",
        "--node-mask-v4 15: expected",
        "--vpc-id vpc-1: expected",
        "--output xml: expected",
        "--reserved-cidr x: expected",
        "--region: no value, expected",
        f"listen: nowhere (in {path}): expected",
        f"cluster-cidr: 10.0.0.0/8 (in {path}): expected a list",
        f"log-level: ['info'] (in {path}): expected one value",
        "CLOUDROUTE_DRAIN_SECONDS=-1: expected",
        "CLOUDROUTE_ROUTE_RESERVE=60: expected less than --route-limit 50 (the default)",
        "--lease-duration 5: expected at least 2 s more than --renew-deadline 10 (the default)",
        "--renew-deadline 10 (the default): expected more than 1.2 times --retry-period 9",
        "--cluster-name is missing",
    ]
    assert len(problems) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in problems), start


def test_a_relation_is_left_out_where_one_of_its_values_is_wrong() -> None:
    """A wrong value is reported once, and relations that use it are skipped."""
    assert len(problems_of({"lease_duration": ["x"], "renew_deadline": ["3000"]})) == 1


def test_a_missing_required_setting_says_where_to_give_it() -> None:
    """A missing required setting is reported with its flag, variable and file key."""
    (problem,) = problems_of({}, required=("cluster_cidr",))
    assert "--cluster-cidr" in problem
    assert "CLOUDROUTE_CLUSTER_CIDR" in problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "expected YAML"),
        ("- a", "expected keys and values"),
        ("\udcff", "expected YAML"),
        (None, "can't be read"),
    ],
)
def test_a_file_that_is_no_configuration_is_reported(content: str | None, says: str, tmp_path: Path) -> None:
    """Broken YAML, a list, bytes that are not UTF-8 and a missing file are reported."""
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    problems = problems_of({"region": ["x"]}, {}, path)
    assert len(problems) == 2
    assert problems[0].startswith(f"--config {path}: {says}")


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    """A file of comments only is valid."""
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert problems_of({}, {}, path) == ()


def test_overlaps_with_the_world_are_said_per_pool_and_range() -> None:
    """Overlaps with the VPC, known at run time only, are reported for each pool and range."""
    settings = ControllerSettings(cluster_cidr=(Cidr.parse("10.0.0.0/16"), Cidr.parse("fd00::/48")))
    vpc = [Cidr.parse("10.0.128.0/20"), Cidr.parse("172.31.0.0/16"), Cidr.parse("fd00::/56")]
    problems = check_against_vpc(settings, vpc)
    assert [problem.split(":")[0] for problem in problems] == ["--cluster-cidr 10.0.0.0/16", "--cluster-cidr fd00"]
    assert "10.0.128.0/20" in problems[0]
    assert check_overlap(settings, "the Services", [Cidr.parse("10.96.0.0/12")]) == []
