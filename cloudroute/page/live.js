// Asks for /api/status every few seconds; an answer of 304 costs neither side anything.

const EVERY_MS = 3000;
const PATIENCE_MS = 10000;
const seen = { etag: "", looked: NaN, heard: NaN, at: 0, asking: false, lost: "" };

function show(status) {
  byId("cluster").textContent = status.cluster;
  byId("about").textContent = [status.vpc, status.identity, `version ${status.version}`].filter(Boolean).join(" · ");
  byId("standby").hidden = status.leader;
  byId("lead").hidden = !status.leader;
  if (!status.leader) {
    byId("standby-text").textContent = status.holder
      ? `${oneLine(status.holder)} leads: its own page shows the cluster. This one takes over if that process ends.`
      : "The leader is not known yet. This process takes the lease when it is free.";
    document.title = `${status.cluster || "cloudroute"}: standby`;
    return;
  }
  drawNow(status);
  const whole = Boolean(status.nodes);
  for (const section of document.querySelectorAll("#lead > section:not(#now)")) section.hidden = !whole;
  if (!whole) return;
  drawPaths(status);
  drawTables(status);
  drawMatrix(status);
  drawWords(status);
  setNodes(status.nodes, status.reasons);
  const warned = status.warnings.filter(({ state }) => state !== "note").length;
  document.title = `${warned ? `(${warned}) ` : ""}${status.cluster || "cloudroute"}: ${counted(status.nodes.length, "node")}`;
}

function lost(why) {
  document.body.classList.toggle("lost", Boolean(why));
  byId("connection").textContent = why ? "connection lost" : "live";
  if (Boolean(why) === Boolean(seen.lost)) return;
  seen.lost = why;
  byId("lost").hidden = !why;
  byId("lost").textContent = why
    ? `Connection lost at ${new Date().toLocaleTimeString("en-GB")} (${why}). The data below is from then; retrying every ${EVERY_MS / 1000} s.`
    : "";
}

function showAge() {
  const seconds = Math.max(0, Math.round((seen.heard - seen.looked + performance.now() - seen.at) / 1000));
  byId("age").textContent = Number.isNaN(seconds) ? "" : `looked ${seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} ago`;
}

async function ask() {
  if (seen.asking || document.hidden) return;
  seen.asking = true;
  try {
    const answer = await fetch("/api/status", {
      cache: "no-store", credentials: "omit", headers: seen.etag ? { "If-None-Match": seen.etag } : {},
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!answer.ok && answer.status !== 304) throw new Error(`it answers ${answer.status}`);
    seen.looked = Date.parse(answer.headers.get("Last-Modified") || "");
    seen.heard = Date.parse(answer.headers.get("Date") || "");
    seen.at = performance.now();
    if (answer.status !== 304) {
      show(await answer.json());
      seen.etag = answer.headers.get("ETag") || "";
    }
    lost("");
  } catch (error) {
    lost(error instanceof TypeError ? "no answer" : error.message);
  } finally {
    seen.asking = false;
  }
  showAge();
}

document.addEventListener("visibilitychange", ask);
setInterval(ask, EVERY_MS);
setInterval(showAge, 1000);
ask();
