// The table of nodes: of 5,000 rows only the visible ones exist in the document.

const ROW = 34;
const MARGIN = 6;
const HEADS = ["Path", "Name", "Zone", "Pod CIDRs", "Peers by N, D, O", "Agent", "Why not native"];
const table = { all: [], found: [], chosen: "" };

byId("heads").append(el("div", { class: "row", role: "row", "aria-rowindex": 1 },
  ...HEADS.map((text) => el("span", { role: "columnheader" }, text))));

function setNodes(nodes, reasons) {
  for (const node of nodes) {
    node.words = node.why == null ? "" : reasons[node.why].text;
    node.text = [node.name, node.zone, node.table, node.instanceID, node.agent, node.words, ...node.podCIDRs, ...node.nodeIPs]
      .join("\n").toLowerCase();
  }
  table.all = nodes;
  filterNodes();
}

function filterNodes() {
  const words = byId("search").value.toLowerCase().trim();
  const path = byId("by-path").value;
  table.found = table.all.filter((node) => (!path || (node.path || "none") === path) && node.text.includes(words));
  const { all, found } = table;
  byId("found").textContent = found.length === all.length ? counted(all.length, "node") : `${many(found.length)} of ${counted(all.length, "node")}`;
  byId("grid").setAttribute("aria-rowcount", found.length + 1);
  byId("space").style.height = `${found.length * ROW}px`;
  if (!found.some(({ name }) => name === table.chosen)) table.chosen = found.length ? found[0].name : "";
  drawRows();
  drawDetails();
}

function drawRows() {
  const grid = byId("grid");
  const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - MARGIN);
  const last = Math.min(table.found.length, Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + MARGIN);
  byId("space").replaceChildren(...table.found.slice(first, last).map((node, at) => nodeRow(node, first + at)));
  const row = byId("space").querySelector("[aria-selected=true]");
  if (row) grid.setAttribute("aria-activedescendant", row.id);
  else grid.removeAttribute("aria-activedescendant");
}

function nodeRow(node, index) {
  const path = node.path || "none";
  const chosen = node.name === table.chosen;
  const well = ["ready", "silent", "behind"].includes(node.agent);
  const cells = [
    el("span", "", letter(path), path), el("span", "", node.name), el("span", "", node.zone), el("span", "", node.podCIDRs.join(" ")),
    el("span", { class: "peers", "aria-label": node.peers.map((number, at) => `${number} ${PATHS[at]}`).join(", ") },
      ...node.peers.map((number) => el("span", "", many(number)))),
    el("span", well ? "" : "bad", well ? node.agent : "! trouble"), el("span", { title: node.words }, node.words),
  ];
  cells.forEach((cell) => cell.setAttribute("role", "gridcell"));
  const row = el("div", { class: "row", role: "row", id: `row-${index}`, "aria-rowindex": index + 2, "aria-selected": chosen }, ...cells);
  row.style.top = `${index * ROW}px`;
  row.dataset.index = index;
  return row;
}

function drawDetails() {
  const node = table.found.find(({ name }) => name === table.chosen);
  draw("details", node || null, () => (node ? Object.entries({
    Name: node.name, Path: node.path || "not published yet",
    Instance: node.instanceID, "Own addresses": node.nodeIPs.join(" "),
    "Sends by": node.table, "Pod CIDRs": node.podCIDRs.join(" "),
    Agent: node.agent, Peers: node.peers.map((number, at) => `${many(number)} ${PATHS[at]}`).join(", "),
    "Why not native": node.words || "it is",
  }).flatMap(([name, text]) => [el("dt", "", name), el("dd", "", text || "–")]) : []));
}

function choose(index) {
  const { found } = table;
  if (!found.length) return;
  const at = Math.min(found.length - 1, Math.max(0, index));
  const grid = byId("grid");
  const room = grid.clientHeight - byId("heads").offsetHeight;
  table.chosen = found[at].name;
  if (at * ROW < grid.scrollTop) grid.scrollTop = at * ROW;
  if ((at + 1) * ROW > grid.scrollTop + room) grid.scrollTop = (at + 1) * ROW - room;
  drawRows();
  drawDetails();
}

function search(text) {
  byId("search").value = text;
  byId("by-path").value = "";
  filterNodes();
  byId("search").focus();
}

byId("search").addEventListener("input", filterNodes);
byId("by-path").addEventListener("change", filterNodes);
byId("filter").addEventListener("submit", (event) => { event.preventDefault(); byId("grid").focus(); });
byId("grid").addEventListener("scroll", drawRows);
byId("space").addEventListener("click", (event) => {
  const row = event.target.closest("[data-index]");
  if (row) choose(Number(row.dataset.index));
});
byId("reasons").addEventListener("click", (event) => {
  const button = event.target.closest("[data-search]");
  if (button) search(button.dataset.search);
});
byId("grid").addEventListener("keydown", (event) => {
  const at = table.found.findIndex(({ name }) => name === table.chosen);
  const page = Math.max(1, Math.floor(byId("grid").clientHeight / ROW) - 2);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: table.found.length - 1 }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  choose(to);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); byId("search").focus(); }
  if (event.key === "Escape" && event.target.closest("#nodes")) search("");
});
