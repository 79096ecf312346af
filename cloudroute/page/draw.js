"use strict";
// Everything is drawn by textContent: the name of a Node, or an agent's message, is never markup.

const PATHS = ["native", "direct", "overlay"];
const LETTER = { native: "N", direct: "D", overlay: "O", partial: "P", none: "–" };
const byId = (id) => document.getElementById(id);
const many = (number) => number.toLocaleString("en-US");
const counted = (number, noun) => `${many(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Text from outside as one visible line: characters that break it, reverse it or are invisible are escaped. */
const oneLine = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);

/** An element with a class, or with attributes, and children that are elements or text. */
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(typeof attributes === "string" ? { class: attributes } : attributes || {})) {
    if (value !== "" && value != null) made.setAttribute(name, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : oneLine(String(child)))));
  return made;
}

const drawn = new Map();

/** Redraw a part if its data has changed; an element in it that had the focus keeps it. */
function draw(id, shown, build) {
  const words = JSON.stringify(shown);
  if (drawn.get(id) === words) return;
  drawn.set(id, words);
  const place = byId(id);
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.replaceChildren(...[build(shown)].flat().map((part) => (part instanceof Node ? part : oneLine(String(part)))));
  if (key !== undefined) [...place.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus();
}

function clock(text) {
  const time = el("time", { datetime: text, title: text });
  const at = new Date(text);
  time.textContent = Number.isNaN(at.getTime()) ? "" : at.toLocaleTimeString("en-GB");
  return time;
}

/** A bar of parts [class, number, words]; the words are its label for screen readers. */
function stack(parts, whole) {
  const bar = el("div", { class: "stack", role: "img", "aria-label": parts.map(([, , words]) => words).join(", ") });
  for (const [name, number] of parts) {
    if (number > 0) {
      const part = el("i", `bar ${name}`);
      part.style.width = `${(100 * number) / Math.max(1, whole)}%`;
      bar.append(part);
    }
  }
  return bar;
}

const letter = (path) => el("b", { class: `path ${path}`, "aria-hidden": "true" }, LETTER[path]);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function drawNow(status) {
  const { did, left, waits, looked, trouble } = status;
  byId("now").classList.toggle("trouble", Boolean(trouble));
  const rest = [];
  if (waits && waits.count) {
    rest.push(`waits for ${waits.first.join(", ")}${waits.count > waits.first.length ? ` and ${waits.count - waits.first.length} more` : ""}`);
  }
  if (left) rest.push(`has ${counted(left, "step")} that failed or could not be tried yet`);
  const idle = rest.length ? "Nothing can be done now" : "All is done: nothing is left to do";
  draw("sentence", trouble || (looked ? did || idle : "Reads the cluster for the first time"), (text) =>
    [`${trouble ? "The cluster can't be read: " : ""}${text.charAt(0).toUpperCase()}${text.slice(1)}.`]);
  draw("next", rest, () => (rest.length ? `It ${rest.join("; ")}.` : ""));
}

function drawPaths({ paths, pairs }) {
  byId("paths-count").textContent = `(${many(sum(Object.values(paths)))})`;
  draw("tiles", paths, () => ["native", "direct", "partial", "overlay", "none"].map((path) =>
    el("li", "", letter(path), el("strong", "", many(paths[path])), el("span", "", path === "none" ? "not published yet" : path))));
  draw("pairs", pairs, () => {
    const whole = sum(Object.values(pairs));
    const share = (path) => (whole ? Math.round((1000 * pairs[path]) / whole) / 10 : 0);
    const parts = PATHS.map((path) => [path, pairs[path], `${path} ${share(path)} %`]);
    return [el("span", "", counted(whole, "pair")), stack(parts, whole), el("span", "", parts.map(([, , words]) => words).join(" · "))];
  });
}

function drawTables({ tables, pools }) {
  draw("tables-body", tables, () => {
    if (!tables.length) return el("p", "zone", "None is kept yet.");
    const heads = ["Table", "Fill", "Own", "Of others", "Reserved", "Free", "Limit"];
    const head = el("tr", "", ...heads.map((text, at) => el("th", { scope: "col", class: at > 1 ? "number" : "" }, text)));
    return el("table", "", el("thead", "", head), el("tbody", "", ...tables.map(tableRow)));
  });
  draw("pools", pools, () => pools.map(({ cidr, free, all }) => `${cidr}: ${many(free)} of ${many(all)} pod CIDRs free`).join(" · "));
}

function tableRow(table) {
  const { id, family, zones, limit, configuredLimit, used, ours, foreign, reserved, free, blackholes, managed, gateways } = table;
  const more = [family === "ipv4" ? "IPv4" : "IPv6", ...(managed ? zones : ["is being emptied"])];
  if (gateways.length) more.push(`gateway ${[...new Set(gateways.map(({ node }) => node || "missing"))].join(", ")}`);
  if (blackholes) more.push(`${blackholes} lead nowhere`);
  const parts = [
    ["ours", ours - blackholes, `${ours} own`], ["dead", blackholes, `${blackholes} of these lead nowhere`],
    ["foreign", foreign, `${foreign} of others`], ["reserved", reserved, `${reserved} reserved`], ["free", free, `${free} free`],
  ];
  const limits = configuredLimit === limit ? many(limit) : `${many(limit)} (AWS; ${many(configuredLimit)} set)`;
  return el("tr", "",
    el("th", { scope: "row" }, id, el("small", "", more.join(" · "))),
    el("td", "fill", stack(parts, Math.max(limit, used))),
    ...[ours, foreign, reserved].map((number) => el("td", "number", many(number))),
    el("td", "number", el("strong", free ? "" : "bad", free ? many(free) : "full")), el("td", "number", limits));
}

function drawMatrix({ matrix }) {
  byId("matrix-by").textContent = matrix.by === "node" ? "nodes" : "zones";
  byId("matrix-body").classList.toggle("nodes", matrix.by === "node");
  draw("matrix-body", matrix, ({ by, names, cells }) => {
    const label = (name) => name || "no zone";
    const head = el("tr", "", el("td", ""), ...names.map((name) => el("th", { scope: "col" }, label(name))));
    return el("table", "", el("thead", "", head), el("tbody", "", ...names.map((name, row) =>
      el("tr", "", el("th", { scope: "row" }, label(name)), ...names.map((_, column) =>
        el("td", "", ...(by === "node" ? oneCell : zoneCell)(cells[row][column])))))));
  });
}

function oneCell(counts) {
  const path = PATHS[counts.findIndex(Boolean)];
  return path ? [el("b", { class: `path ${path}`, "aria-label": path, title: path }, LETTER[path])] : [];
}

function zoneCell(counts) {
  const whole = sum(counts);
  const used = PATHS.map((path, at) => [path, counts[at], `${path} ${many(counts[at])}`]).filter(([, number]) => number);
  if (!used.length) return [el("span", "zone", "no pair")];
  return [stack(used, whole), el("span", "", used.map(([path, number]) => `${LETTER[path]} ${many(number)}`).join(" \u00a0"))];
}

function drawWords({ reasons, history, warnings, moreWarnings }) {
  draw("reasons", reasons, () => (reasons.length ? reasons.slice(0, 100).map(({ text, nodes }) =>
    el("li", "", el("button", { type: "button", "data-key": text, "data-search": text, title: "Show these nodes" },
      el("strong", "", many(nodes)), el("span", "", text)))) : el("li", "zone", "Every node is native.")));
  draw("history", history, () => (history.length ? [...history].reverse().map(({ at, kind, text }) =>
    el("li", kind, clock(at), el("span", "", text))) : el("li", "zone", "Nothing since this process leads.")));
  byId("warnings-count").textContent = warnings.length ? `(${warnings.length + moreWarnings})` : "";
  draw("warnings-body", [warnings, moreWarnings], () => {
    const lines = warnings.map(({ state, about, reason, message, todo }) =>
      el("li", "", el("span", state === "note" ? "" : "mark", state === "note" ? "" : "!"),
        el("span", "", reason, el("small", "", `${state === "failed" ? "failed, " : ""}${about}`)),
        el("span", "", message, el("small", "", todo))));
    if (moreWarnings) lines.push(el("li", "quiet", `and ${many(moreWarnings)} more`));
    return lines.length ? lines : el("li", "quiet", "None. For checks beyond the leader's snapshot run cloudroute doctor.");
  });
}
