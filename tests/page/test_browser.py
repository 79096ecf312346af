"""The page in a real browser: its parts, its keyboard control, its requests, and injected text that it never runs."""

from __future__ import annotations

import json
from dataclasses import replace

from cloudroute.controller.status_page import StatusPage
from tests.core.world import POLICY, World, settled_world
from tests.page.chrome import Tab
from tests.page.stage import Election, agents_say, served, shown
from tests.page.test_compose import cycle_of

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def leading(world: World) -> StatusPage:
    status = StatusPage("prod", Election(), lambda: float("inf"))
    status.cycle(cycle_of(world))
    return status


def test_each_part_is_drawn(tab: Tab) -> None:
    """Tables, paths, matrix, reasons, changes, warnings and nodes of a leader are drawn; no other host is asked."""
    with shown(3, nodes=40, route_limit=12) as (world, url):
        agents_say(world, "node-001", ready=False, reason="KernelFailed", message="no nftables")
        world.turn()
        tab.go(url)
        assert tab.count("#tables-body tbody tr") == 3
        assert "full" in tab.text("#tables-body")
        assert tab.count("#matrix-body tbody td") == 9
        assert "no entry is left" in tab.text("#reasons")
        assert "give 40 nodes pod CIDRs" in tab.text("#history").replace("\n", " ")
        assert "KernelFailed: no nftables" in tab.text("#warnings-body")
        assert tab.text("#found") == "40 nodes"
        assert "40" in tab.text("#paths-count")
        assert {address.removeprefix(url) for address in tab.requests if not address.startswith("data:")} == {
            "/", "/api/status",
        }  # fmt: skip


def test_nodes_are_counted_by_path(tab: Tab) -> None:
    """With 8 free entries for 12 nodes there is a tile for each path, and a row for each of its nodes."""
    world = World(POLICY, one_table=True, limit=10)
    world.foreign("rtb-main", "0.0.0.0/0")
    for zone in "abc" * 4:
        world.join(zone)
    world.settle()
    with served(leading(world)) as url:
        tab.go(url)
        tiles = "N 8 native D 0 direct P 0 partial O 4 overlay \N{EN DASH} 0 not published yet"
        assert tab.text("#tiles").split() == tiles.split()
        rows = tab.text("#space").split()
        assert (rows.count("native"), rows.count("overlay")) == (8, 4)


def test_few_nodes_are_shown_with_each_other(tab: Tab) -> None:
    """Each pair of nodes has a cell with the letter of its path, readable without colour."""
    with served(leading(settled_world(6, 2, 4))) as url:
        tab.go(url)
        assert tab.text("#matrix-by") == "nodes"
        cells = json.loads(
            tab.run("JSON.stringify([...document.querySelectorAll('#matrix-body td b')].map(b => b.innerText))")
        )
        assert len(cells) == 6 * 5
        assert set(cells) <= {"N", "D", "O"}
        assert tab.count("#matrix-body td b[aria-label]") == len(cells)


def test_a_change_comes_without_a_reload(tab: Tab) -> None:
    """Unchanged status is answered by 304; a change is drawn in place, and the reader's selection and text stay."""
    world = settled_world(40, 2, 50)
    status = leading(world)
    with served(status) as url:
        tab.go(url)
        tab.run("document.body.dataset.mark = 'the same page'")
        tab.press("/", "3", "9")
        tab.until(lambda: tab.run("1") == 1 and 304 in tab.statuses, "an answer of 304")
        before = tab.text("#found")
        world.join("a", name="newcomer-39")
        world.settle()
        status.cycle(cycle_of(world))
        tab.until(lambda: tab.text("#found").endswith("of 41 nodes"), "the new node")
        assert before != tab.text("#found")
        assert tab.run("document.body.dataset.mark") == "the same page"
        assert tab.run("document.getElementById('search').value") == "39"
        assert tab.run("document.activeElement.id") == "search"
        assert "newcomer-39" in tab.text("#space")


def test_a_lost_connection_is_said(tab: Tab) -> None:
    """A lost connection is shown with its time, beside the last status, until the leader answers."""
    status = leading(settled_world(4, 2, 50))
    with served(status) as url:
        tab.go(url)
        assert tab.run("document.getElementById('lost').hidden") is True
    tab.until(lambda: "Connection lost at" in tab.text("#lost"), "the loss to be said")
    assert tab.text("#connection") == "connection lost"
    assert tab.text("#found") == "4 nodes"
    # A refused connection is the browser's own complaint, and the only one.
    assert all("ERR_CONNECTION_REFUSED" in words for words in tab.complaints)
    tab.complaints.clear()


def test_it_works_by_keyboard(tab: Tab) -> None:
    """Tab reaches every control with a visible focus; the table is searched and walked by keys."""
    with served(leading(settled_world(60, 2, 20))) as url:
        tab.go(url)
        reached, outlines = [], set()
        for _ in range(40):
            tab.press("Tab")
            reached.append(tab.run("document.activeElement.id || document.activeElement.closest('[id]')?.id || ''"))
            outlines.add(tab.run("getComputedStyle(document.activeElement).outlineStyle"))
            if reached[-1] == "grid":
                break
        assert outlines == {"solid"}
        assert {"matrix-body", "reasons", "history", "search", "by-path", "grid"} <= set(reached)
        tab.press("ArrowDown", "ArrowDown")
        third = tab.run("document.querySelector('[aria-selected=true]').ariaRowIndex")
        assert third == "4"
        assert tab.run("document.getElementById('grid').getAttribute('aria-activedescendant')") == "row-2"
        tab.press("End")
        assert tab.run("document.querySelector('[aria-selected=true]').ariaRowIndex") == "61"
        tab.press("/", "z", "o", "n", "e", "-", "b")
        assert tab.text("#found") == "30 of 60 nodes"
        tab.press("Escape")
        assert tab.text("#found") == "60 nodes"
        tab.run("document.querySelector('#reasons button').focus()")
        tab.press("Enter")
        assert tab.text("#found").endswith("of 60 nodes")
        assert tab.run("document.activeElement.id") == "search"


def test_every_part_has_a_name(tab: Tab) -> None:
    """Landmarks, sections, bars and fields have names for screen readers."""
    with served(leading(settled_world(60, 2, 20))) as url:
        tab.go(url)
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        seen = [(node.get("role", {}).get("value"), node.get("name", {}).get("value", "")) for node in nodes]
        roles = {role for role, _ in seen}
        assert {"banner", "main", "contentinfo", "search", "grid", "table", "region"} <= roles
        named = ("region", "search", "grid", "button", "searchbox", "combobox", "image", "img", "link")
        assert [one for one in seen if one[0] in named and not one[1]] == []


def test_the_readers_colour_scheme_is_used(tab: Tab) -> None:
    """The page follows the reader's colour scheme; text has a contrast of at least 4.5 to 1 in both."""
    with served(leading(settled_world(6, 2, 4))) as url:
        tab.go(url)
        grounds = []
        for scheme in ("light", "dark"):
            tab.media(prefers_color_scheme=scheme)
            grounds.append(tab.run("getComputedStyle(document.body).backgroundColor"))
            assert tab.run(_CONTRAST) >= 4.5
        assert grounds[0] != grounds[1]


_CONTRAST = """(() => {
  const light = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
    const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  return Math.min(...["--ink", "--soft", "--bad", "--focus"].map((name) => ratio(name, "--card")),
    ratio("--soft", "--ground"), ratio("--soft", "--track"));
})()"""


def test_reduced_motion_is_respected(tab: Tab) -> None:
    """With prefers-reduced-motion bars change without a transition."""
    with served(leading(settled_world(6, 2, 4))) as url:
        tab.go(url)
        duration = "getComputedStyle(document.querySelector('.stack .bar')).transitionDuration"
        assert tab.run(duration) == "0.4s"
        tab.media(prefers_reduced_motion="reduce")
        assert tab.run(duration) == "0s"


def test_names_are_never_markup(tab: Tab) -> None:
    """Markup in names of a Node, a zone, an agent and a pod network is shown as text and never run."""
    world = settled_world(3, 1, 50)
    node = world.nodes[next(iter(world.nodes))]
    world.records[node.name] = replace(
        world.records[node.name], status={"ready": False, "reason": "Bad", "message": MARKUP}
    )
    world.nodes[MARKUP] = replace(node, name=MARKUP, uid="x", instance_id="", problem=MARKUP, zone_hint=MARKUP)
    with served(leading(world)) as url:
        tab.go(url)
        assert MARKUP in tab.text("#space")
        assert MARKUP in tab.text("#reasons")
        assert MARKUP in tab.text("#warnings-body")
        assert tab.count("img, #lead script") == 0
        assert "owned" not in tab.run("document.title")


def test_direction_overrides_are_shown_escaped(tab: Tab) -> None:
    """Direction overrides and invisible characters in an agent's message are shown escaped."""
    world = settled_world(3, 1, 50)
    name = next(iter(world.nodes))
    said = {"ready": False, "reason": "Bad", "message": "a\u202eb\u200bc\x1bd"}
    world.records[name] = replace(world.records[name], status=said)
    with served(leading(world)) as url:
        tab.go(url)
        assert r"Bad: a\u{202e}b\u{200b}c\u{1b}d" in tab.text("#warnings-body")


def test_injected_scripts_do_not_run(tab: Tab) -> None:
    """The Content-Security-Policy refuses an injected script, style and request."""
    with served(leading(settled_world(3, 1, 50))) as url:
        tab.go(url)
        tab.run("document.body.append(Object.assign(document.createElement('img'), {src: 'http://192.0.2.1/x'}))")
        tab.run("fetch('http://192.0.2.1/x').catch(() => 0)")
        assert (
            tab.run("(() => { try { document.body.innerHTML = '<b>'; } catch (e) { return e.name } })()") == "TypeError"
        )
        tab.until(lambda: tab.run("1") == 1 and len(tab.complaints) >= 3, "the browser to complain")
        assert all("192.0.2.1" in words or "TrustedHTML" in words for words in tab.complaints)
        tab.complaints.clear()


def test_a_standby_has_its_page(tab: Tab) -> None:
    """A standby's page names the leader, and shows the cluster once the standby leads."""
    election = Election()
    election.held, election.holder = False, "ip-10-0-0-9_77aa0c1d"
    status = StatusPage("prod", election, lambda: float("inf"))
    with served(status) as url:
        tab.go(url)
        assert "ip-10-0-0-9_77aa0c1d leads" in tab.text("#standby")
        assert tab.run("document.getElementById('lead').hidden") is True
        election.held = True
        tab.until(lambda: "first time" in tab.text("#sentence"), "it to lead")
        status.cycle(cycle_of(settled_world(3, 1, 50)))
        tab.until(lambda: tab.text("#found") == "3 nodes", "the cluster")


def test_5000_nodes_are_usable(tab: Tab) -> None:
    """The document stays small however far the reader scrolls, and a search finds one node of 5,000."""
    world = settled_world(5000, 3, 50)
    name = sorted(world.nodes)[2500]
    with served(leading(world)) as url:
        tab.go(url)
        assert tab.text("#found") == "5,000 nodes"
        for top in (0, 50_000, 1e9):
            tab.run(f"document.getElementById('grid').scrollTop = {top}; new Promise(requestAnimationFrame)")
            assert 0 < tab.count("#space .row") < 40
            assert tab.count("*") < 1500
        assert max(world.nodes) in tab.text("#space")
        tab.run("document.getElementById('search').focus()")
        tab.call("Input.insertText", text=name)
        assert tab.text("#found") == "1 of 5,000 nodes"
        assert name in tab.text("#details")
