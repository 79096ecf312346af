"""The pictures of docs/concepts.md and docs/gateways.md: a few boxes and lines, readable on light and dark pages.

python -m tests.docs.figures            writes them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from tests.docs.pages import ROOT

FOLDER = ROOT / "docs"

# Colours of paper, ink, soft ink, lines, boxes, dashed boxes; then line and fill of each path.
_LIGHT = ("fbfcfd", "14202b", "41505e", "33475b", "ffffff", "f2f4f7")
_LIGHT_PATHS = {"native": ("2c7a4b", "e3f3e8"), "direct": ("1f5fa8", "e3eefa"), "overlay": ("a85c12", "fbeedd")}
_DARK = ("16191d", "e8edf2", "aab6c2", "8fa1b3", "22272d", "1c2126")
_DARK_PATHS = {"native": ("6fcf97", "1c3526"), "direct": ("7fb4f0", "1a2c42"), "overlay": ("f0a860", "3a2a18")}
_SHAPES = """.s { font-size: 12px; } .h { font-weight: 600; } rect { stroke-width: 1.5; } .paper { stroke: none; }
    .out { stroke-dasharray: 5 3; } .free { stroke-dasharray: 2 3; } path { stroke-width: 2; fill: none; }
    path.overlay { stroke-dasharray: 7 4; } .tip { stroke: none; }"""


def _colours(shades: Sequence[str], paths: Mapping[str, tuple[str, str]]) -> str:
    paper, ink, soft, line, box_, out = (f"#{shade}" for shade in shades)
    rules = [
        f"text {{ fill: {ink}; }} .s {{ fill: {soft}; }} rect {{ stroke: {line}; fill: {box_}; }}",
        f".paper {{ fill: {paper}; }} .out {{ fill: {out}; }} .free {{ fill: {paper}; }}",
        f"path {{ stroke: {line}; }} .tip-plain {{ fill: {line}; }}",
    ]
    for name, (stroke, fill) in paths.items():
        rules.append(
            f"rect.{name} {{ stroke: #{stroke}; fill: #{fill}; }} path.{name} {{ stroke: #{stroke}; }} "
            f"text.{name}, .tip-{name} {{ fill: #{stroke}; }}"
        )
    return "\n    ".join(rules)


# Each picture has a background of its own: the reader's page may be dark where the reader's system is light.
_STYLE = f"""
    {_colours(_LIGHT, _LIGHT_PATHS)}
    @media (prefers-color-scheme: dark) {{
    {_colours(_DARK, _DARK_PATHS)}
    }}
    {_SHAPES}
"""
_TIPS = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path class="tip tip-{name}" d="M0 0 L10 5 L0 10 z"/></marker>'
    for name in ("plain", *_LIGHT_PATHS)
)


def text(x: float, y: float, words: str, kind: str = "s", *, middle: bool = False) -> str:
    """One line of text; `kind` is a class of the style."""
    anchor = ' text-anchor="middle"' if middle else ""
    return f'  <text class="{kind}" x="{x:g}" y="{y:g}"{anchor}>{escape(words)}</text>\n'


def box(x: float, y: float, width: float, height: float, lines: Sequence[str] = (), kind: str = "box") -> str:
    """A box with a heading and lines below it."""
    drawn = f'  <rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>\n'
    for index, line in enumerate(lines):
        drawn += text(x + 12, y + 22 + 18 * index, line, "s" if index else "h")
    return drawn


def arrow(path: str, kind: str = "plain") -> str:
    """A line with a tip at its end."""
    return f'  <path class="{kind}" d="{path}" marker-end="url(#{kind})"/>\n'


def picture(width: int, height: int, title: str, description: str, *parts: str) -> str:
    """A whole SVG, with title and description for screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="14" role="img"\n'
        '     font-family="ui-sans-serif, system-ui, sans-serif" aria-labelledby="title description">\n'
        f'  <title id="title">{escape(title)}</title>\n'
        f'  <desc id="description">{escape(description)}</desc>\n'
        f"  <style>{_STYLE}  </style>\n"
        f"  <defs>{_TIPS}</defs>\n"
        f'  <rect class="paper" width="{width}" height="{height}"/>\n'
        f"{''.join(parts)}</svg>\n"
    )


def paths() -> str:
    """Four nodes on two subnets, and the three ways between them."""
    return picture(
        960, 400, "The three paths",
        "node-1 and node-2 stand on one subnet: frames go directly from one to the other. node-3 has an entry "
        "in the table of node-1's subnet, and node-1 in that of node-3's: packets go natively, by the VPC's router. "
        "node-4 has no entry: a VXLAN tunnel carries.",
        box(20, 20, 400, 360, ["subnet in zone a: sends by table A"], "out"),
        box(540, 20, 400, 360, ["subnet in zone b: sends by table B"], "out"),
        box(50, 70, 150, 62, ["node-2", "100.64.1.0/24"]),
        box(50, 250, 150, 62, ["node-1", "100.64.0.0/24"]),
        box(770, 165, 150, 62, ["node-3", "100.64.2.0/24"]),
        box(770, 290, 150, 62, ["node-4", "100.64.3.0/24"]),
        box(240, 70, 165, 98, ["table A", "local", "100.64.2.0/24 → node-3", "full: none for node-4"]),
        box(560, 70, 165, 98, ["table B", "local", "100.64.0.0/24 → node-1", "100.64.1.0/24 → node-2"]),
        arrow("M125 250 V 134", "direct"),
        text(135, 200, "direct", "h direct"), text(135, 218, "from NIC to NIC"),
        arrow("M200 268 H 480 V 196 H 768", "native"),
        text(556, 188, "native: the VPC's router", "h native"), text(556, 214, "an entry in each table"),
        arrow("M200 298 H 485 V 322 H 768", "overlay"),
        text(556, 312, "overlay: VXLAN", "h overlay"), text(556, 342, "no entry is left for node-4"),
    )  # fmt: skip


def table() -> str:
    """The entries of a route table, and the node that waits for the next one."""
    cells = [
        ("others", ["local", "0.0.0.0/0", "pl-…", "pl-…"]),
        ("native", ["node-1", "node-2", "node-3", "node-4", "node-5"]),
        ("free", ["free"]),
        ("out", ["reserve", "reserve"]),
    ]
    parts, x = [], 30.0
    for kind, names in cells:
        for name in names:
            parts.append(box(x, 60, 72, 44, (), "box" if kind == "others" else kind))
            parts.append(text(x + 36, 87, name, "s", middle=True))
            x += 75
    return picture(
        960, 330, "A route table with a limit of 12 entries",
        "Four entries are of others: local, a default route, and a prefix list that counts with its maximum of two. "
        "Five are of nodes, two are the reserve, one is free. Of two nodes that wait one gets it, the other stays "
        "on the overlay.",
        text(30, 36, "route table rtb-…, limit 12", "h"),
        *parts,
        arrow("M30 122 H 322"), text(30, 142, "of others: counted, never changed;"),
        text(30, 160, "a prefix list counts with its maximum"),
        arrow("M330 122 H 700", "native"), text(330, 142, "ours: one for each node and family"),
        arrow("M780 122 H 928"), text(770, 142, "--route-reserve 2:"), text(770, 160, "no new route of ours"),
        box(330, 210, 180, 62, ["node-6", "the older"], "native"),
        box(540, 210, 180, 62, ["node-7", "the younger"], "overlay"),
        arrow("M420 210 V 190 H 741 V 106", "native"),
        text(330, 296, "gets it: native", "h native"),
        text(540, 296, "waits, on the overlay", "h overlay"),
        text(30, 232, "who comes first: nodes that the"), text(30, 250, "table's senders can't reach directly;"),
        text(30, 268, "who has the entry already; then"), text(30, 286, "priority, age, name"),
    )  # fmt: skip


def order() -> str:
    """The order of writes when a node gets, and when it loses, its route."""
    return picture(
        960, 360, "Make before break",
        "To native: CreateRoute, settle for two seconds while the tunnel carries, publish, and agents turn to the "
        "route. To overlay: publish, agents turn to the tunnel, drain for ten seconds while the route is there, then "
        "DeleteRoute.",
        text(20, 34, "a node gets an entry", "h native"),
        box(20, 50, 150, 44, ["CreateRoute"]),
        box(390, 50, 150, 44, ["publish"]),
        box(610, 50, 150, 44, ["agents turn"]),
        arrow("M170 72 H 388"), text(190, 64, "--settle-seconds (2)"),
        arrow("M540 72 H 608"),
        box(20, 108, 665, 26, (), "overlay"), text(32, 126, "the tunnel carries"),
        box(688, 108, 252, 26, (), "native"), text(700, 126, "the route carries"),
        text(20, 206, "a node loses its entry", "h overlay"),
        box(20, 222, 150, 44, ["publish"]),
        box(240, 222, 150, 44, ["agents turn"]),
        box(790, 222, 150, 44, ["DeleteRoute"]),
        arrow("M170 244 H 238"),
        arrow("M390 244 H 788"), text(480, 236, "--drain-seconds (10)"),
        box(20, 280, 295, 26, (), "native"), text(32, 298, "the route carries"),
        box(318, 280, 622, 26, (), "overlay"), text(330, 298, "the tunnel carries; the route is still there"),
        text(20, 342, "publish: the controller writes the NodeRoute. agents turn: each replaces one nexthop at once."),
    )  # fmt: skip


def addresses() -> str:
    """The source address that the receiver of a pod's packet sees."""
    return picture(
        960, 360, "Pod addresses and masquerade",
        "Each node's pods have addresses of its pod CIDR, a part of the cluster CIDR. A pod keeps its address toward "
        "pods, nodes, and subnets of the VPC whose table has the node's entry. Toward other subnets and internet it "
        "gets the node's.",
        text(20, 34, "--cluster-cidr 100.64.0.0/16", "h"),
        box(20, 48, 180, 52, ["node-1", "100.64.0.0/24"]),
        box(206, 48, 180, 52, ["node-2", "100.64.1.0/24"]),
        box(392, 48, 180, 52, ["node-3", "100.64.2.0/24"]),
        box(578, 48, 180, 52, ["…"], "free"),
        box(764, 48, 176, 52, ["--reserved-cidr"], "out"),
        box(20, 170, 180, 80, ["pod 100.64.0.2", "on node-1, 10.0.0.4"]),
        box(640, 116, 300, 44, ["pods and nodes of the cluster"], "native"),
        box(640, 170, 300, 44, ["a subnet whose table has node-1"], "native"),
        box(640, 224, 300, 44, ["any other subnet, peers"], "overlay"),
        box(640, 278, 300, 44, ["the internet"], "overlay"),
        arrow("M200 196 H 340 V 138 H 638", "native"),
        arrow("M340 192 H 638", "native"),
        arrow("M200 224 H 340 V 246 H 638", "overlay"),
        arrow("M340 246 V 300 H 638", "overlay"),
        text(360, 162, "from 100.64.0.2 itself", "h native"),
        text(360, 276, "masqueraded: from 10.0.0.4", "h overlay"),
    )  # fmt: skip


def gateway() -> str:
    """A host of the VPC, its route table, a node with an entry, a gateway, and a node without an entry."""
    return picture(
        960, 400, "A gateway",
        "A database in the VPC sends to a pod on node-2 by the entry of node-2 in its route table: natively. For a pod "
        "on node-9, which has no entry, the table's entry for the whole pool leads to the gateway node-1, which sends "
        "on through the VXLAN tunnel. The answer goes from node-9 straight to the database.",
        box(20, 20, 920, 360, ["VPC"], "out"),
        box(50, 160, 160, 62, ["database", "no node: 10.0.9.4"]),
        box(
            270, 130, 200, 98,
            ["its table", "100.64.2.0/24 → node-2", "full: none for node-9", "100.64.0.0/16 → node-1"],
        ),
        box(740, 80, 170, 62, ["node-2", "100.64.2.0/24"], "native"),
        box(530, 200, 150, 62, ["node-1: gateway", "100.64.1.0/24"]),
        box(740, 280, 170, 62, ["node-9", "100.64.9.0/24"], "overlay"),
        arrow("M210 186 H 268"),
        arrow("M470 166 H 500 V 110 H 738", "native"),
        text(512, 102, "native: its own entry wins", "h native"),
        arrow("M470 202 H 500 V 230 H 528"),
        arrow("M680 230 H 825 V 278", "overlay"),
        text(692, 222, "overlay, never native", "h overlay"),
        arrow("M740 311 H 130 V 224"),
        text(270, 303, "the answer goes straight back", "h"),
        text(270, 329, "from the pod's own address"),
    )  # fmt: skip


FIGURES: Mapping[str, Callable[[], str]] = {
    "paths": paths,
    "table": table,
    "order": order,
    "addresses": addresses,
    "gateway": gateway,
}


def main() -> None:
    """Write all pictures."""
    for name, draw in FIGURES.items():
        (FOLDER / f"concepts-{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
