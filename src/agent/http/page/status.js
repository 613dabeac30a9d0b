"use strict";
// Shows what the agent knows. Texts of members are inserted as text, never as markup.
const $ = (id) => document.getElementById(id);
const make = (tag, kind, text) => {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
};
const STATUSES = ["alive", "leaving", "failed", "left"];
const COLUMNS = [
  ["name", "Name"], ["status", "Status"],
  ["rtt", "RTT", "Round trip time from this agent, estimated from the coordinates"],
  ["addr", "Address"], ["version", "Protocol", "Version of Serf's protocol that it speaks"],
  ["flaps", "Flaps", "How often it failed and came back since this agent started"],
  ["tags", "Tags"],
];
const NUMBERS = new Set(["rtt", "flaps", "version"]);
const LOG_MAX = 300;

const members = new Map();
const coordinates = new Map();
const flaps = new Map();
let self = "", shown = [], picked = "", sortBy = "name", falling = false;
let token = sessionStorage.getItem("serf-token") || "";
let asking = null, paused = false, log = [];

// Requests.

class Refused extends Error {}

async function get(path, options = {}) {
  for (;;) {
    const used = token;
    const headers = used ? { Authorization: `Bearer ${used}` } : {};
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status !== 401) return answer;
    if (used === token) await askToken(used !== "");
  }
}

async function json(path) {
  const answer = await get(path);
  if (!answer.ok) throw new Refused(`${path}: ${answer.status}`);
  return answer.json();
}

// One dialog for all requests that wait for it.
function askToken(wrong) {
  if (wrong) {
    token = "";
    sessionStorage.removeItem("serf-token");
  }
  asking ??= new Promise((resolve) => {
    const dialog = $("ask");
    $("wrong").textContent = wrong ? "Wrong token." : "";
    $("token").value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("serf-token", token);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

// Members.

function prepare(row) {
  const tags = Object.entries(row.tags || {}).map(([name, value]) => `${name}=${value}`);
  row.text = tags.join("  ");
  row.search = [row.name, row.addr, row.status, ...tags].join("\n").toLowerCase();
  const old = members.get(row.name);
  row.protocol ??= old?.protocol;
  row.rtt = distance(coordinates.get(self), coordinates.get(row.name));
  members.set(row.name, row);
  return row;
}

// Serf's estimate: distance of the coordinates, plus heights and adjustments.
function distance(a, b) {
  if (!a || !b || a.vec.length !== b.vec.length) return NaN;
  if (a === b) return 0;
  const sum = a.vec.reduce((all, x, i) => all + (x - b.vec[i]) ** 2, 0);
  const raw = Math.sqrt(sum) + a.height + b.height;
  const adjusted = raw + a.adjustment + b.adjustment;
  return adjusted > 0 ? adjusted : raw;
}

const count = (number) => number.toLocaleString("en");

function duration(seconds) {
  if (Number.isNaN(seconds) || seconds === undefined) return "";
  const ms = seconds * 1e3;
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  return ms < 1e4 ? `${ms.toFixed(0)} ms` : `${(ms / 1e3).toFixed(1)} s`;
}

const VALUES = {
  name: (row) => row.name,
  status: (row) => STATUSES.indexOf(row.status),
  rtt: (row) => row.rtt,
  addr: (row) => row.addr.split(/[.:]/).map((part) => part.padStart(5, "0")).join("."),
  version: (row) => row.protocol?.version ?? NaN,
  flaps: (row) => flaps.get(row.name) ?? 0,
  tags: (row) => row.text,
};

// All members in order. Sorted again only if the members or the order have changed.
let ordered = [], inOrder = false;
function order() {
  const [value, sign] = [VALUES[sortBy], falling ? -1 : 1];
  const keyed = [...members.values()].map((row) => ({ key: value(row), row }));
  keyed.sort((a, b) => {
    // Members without a value come last in both directions.
    const missing = Number.isNaN(a.key) - Number.isNaN(b.key);
    if (missing) return missing;
    if (a.key !== b.key && !Number.isNaN(a.key)) return a.key < b.key ? -sign : sign;
    return a.row.name < b.row.name ? -1 : 1;
  });
  ordered = keyed.map(({ row }) => row);
  inOrder = true;
}

function choose() {
  if (!inOrder) order();
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const status = $("status").value;
  shown = ordered.filter((row) => (!status || row.status === status)
    && words.every((word) => row.search.includes(word)));
}

// The list creates elements only for visible rows.

const pool = [];
const rows = $("rows");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rowHeight = () => parseFloat(css("--row"));

function newRow() {
  const row = make("div", "row");
  row.setAttribute("role", "row");
  for (const [key] of COLUMNS) {
    const cell = make("span", NUMBERS.has(key) ? `${key} number` : key);
    cell.setAttribute("role", "cell");
    row.append(cell);
  }
  row.addEventListener("click", () => {
    pick(row.dataset.name);
    details(row.dataset.name);
  });
  rows.append(row);
  pool.push(row);
  return row;
}

function fill(element, row, index, height) {
  element.hidden = false;
  element.dataset.name = row.name;
  element.id = row.name === picked ? "picked" : "";
  element.setAttribute("aria-rowindex", index + 2);
  element.classList.toggle("picked", row.name === picked);
  element.style.transform = `translateY(${index * height}px)`;
  const texts = {
    name: row.name === self ? `${row.name} (this agent)` : row.name,
    status: row.status,
    rtt: row.name === self ? "–" : duration(row.rtt),
    addr: row.addr,
    version: row.protocol?.version ?? "",
    flaps: flaps.get(row.name) || "",
    tags: row.text,
  };
  COLUMNS.forEach(([key], i) => {
    const cell = element.children[i];
    if (cell.textContent !== String(texts[key])) cell.textContent = texts[key];
  });
  element.children[1].className = `status dot ${row.status}`;
}

function drawRows() {
  const height = rowHeight();
  $("spacer").style.height = `${shown.length * height}px`;
  const first = Math.max(0, Math.floor(rows.scrollTop / height) - 4);
  const visible = shown.slice(first, first + Math.ceil(rows.clientHeight / height) + 8);
  visible.forEach((row, i) => fill(pool[i] ?? newRow(), row, first + i, height));
  for (const element of pool.slice(visible.length)) element.hidden = true;
  $("table").setAttribute("aria-rowcount", shown.length + 1);
  $("shown").textContent = `${count(shown.length)} of ${count(members.size)}`;
  let empty = rows.querySelector(".empty");
  if (shown.length === 0 && !empty) rows.append((empty = make("p", "empty")));
  if (empty) {
    empty.hidden = shown.length > 0;
    empty.textContent = members.size ? "No member matches the filter." : "No members yet.";
  }
}

function drawHead() {
  $("head").replaceChildren(...COLUMNS.map(([key, title, hint]) => {
    const cell = make("span", NUMBERS.has(key) ? "number" : "");
    cell.setAttribute("role", "columnheader");
    if (key === sortBy) cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const button = make("button", "", title);
    if (hint) button.title = hint;
    button.addEventListener("click", () => {
      sort(key, key === sortBy ? !falling : key === "flaps");
      $("head").children[COLUMNS.findIndex(([other]) => other === key)].firstChild.focus();
    });
    cell.append(button);
    return cell;
  }));
}

function sort(key, down) {
  [sortBy, falling] = [key, down];
  $("sort").value = key;
  drawHead();
  changed();
}

function drawCounts() {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const row of members.values()) counts[row.status] = (counts[row.status] ?? 0) + 1;
  $("counts").replaceChildren(...Object.entries(counts)
    .filter(([status, number]) => number > 0 || status === "alive" || status === "failed")
    .map(([status, number]) =>
      make("li", `dot ${status}${number ? "" : " none"}`, `${count(number)} ${status}`)));
}

// Members or their order have changed.
function changed() {
  inOrder = false;
  draw();
}

// Draws at most once per frame, and leaves most of the time to the browser.
let drawing = false, free = 0;
function draw() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(() => {
    const from = performance.now();
    drawing = false;
    choose();
    drawRows();
    drawCounts();
    drawMapSoon();
    free = performance.now() + 2 * (performance.now() - from);
  }), Math.max(0, free - performance.now()));
}

function pick(name) {
  picked = name;
  const index = shown.findIndex((row) => row.name === name);
  const height = rowHeight();
  if (index * height < rows.scrollTop) rows.scrollTop = index * height;
  const below = (index + 1) * height - rows.clientHeight;
  if (below > rows.scrollTop) rows.scrollTop = below;
  drawRows();
  drawMap();
}

function details(name) {
  const row = members.get(name);
  if (!row) return;
  $("who").textContent = row.name;
  const { version, min, max } = row.protocol ?? {};
  const coordinate = coordinates.get(name);
  const facts = [
    ["Status", row.status], ["Address", row.addr],
    ["RTT from this agent", name === self ? "this agent" : duration(row.rtt) || "not known yet"],
    ["Protocol", version ? `${version} (speaks ${min} to ${max})` : ""],
    ["Flaps", String(flaps.get(name) ?? 0)],
    ["Coordinate's error", coordinate ? coordinate.error.toFixed(3) : "no coordinate"],
    ...Object.entries(row.tags ?? {}).map(([tag, value]) => [`tag ${tag}`, value]),
  ];
  $("facts").replaceChildren(
    ...facts.flatMap(([what, value]) => [make("dt", "", what), make("dd", "", value)]));
  $("detail").showModal();
}

function keys(event) {
  const page = Math.max(1, Math.floor(rows.clientHeight / rowHeight()) - 1);
  const at = shown.findIndex((row) => row.name === picked);
  const to = {
    ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0,
    End: shown.length - 1,
  }[event.key];
  if (to !== undefined && shown.length) {
    pick(shown[Math.min(Math.max(to, 0), shown.length - 1)].name);
    rows.setAttribute("aria-activedescendant", "picked");
  } else if (event.key === "Enter" && at >= 0) {
    details(picked);
  } else {
    return;
  }
  event.preventDefault();
}

// Events.

function note(kind, title, text) {
  log.unshift({ kind, title, text, time: new Date() });
  log.length = Math.min(log.length, LOG_MAX);
  if (!paused) drawLogSoon();
}

let logDirty = false;
function drawLogSoon() {
  if (logDirty) return;
  logDirty = true;
  requestAnimationFrame(() => {
    logDirty = false;
    drawLog();
  });
}

const clock = (time) => time.toLocaleTimeString([], { hour12: false });

function drawLog() {
  const kind = $("kind").value;
  const wanted = log.filter((entry) => !kind || entry.kind === kind || entry.kind === "note");
  $("log").replaceChildren(...wanted.map(({ kind, title, text, time }) => {
    const item = make("li");
    item.append(make("time", "", clock(time)));
    // Names of user events and queries are anybody's choice: they get no colour.
    if (kind !== "note") item.append(make("span", "kind", kind), " ");
    const tone = { member: { failed: "bad", join: "good" }[title], note: "warn" }[kind] ?? "";
    const shape = kind === "member" || kind === "note" ? "span" : "code";
    item.append(make("strong", tone, title || "(no name)"), " ", make(shape, "", text));
    return item;
  }));
  if (wanted.length > 0) return;
  $("log").append(make("li", "left", "No events since this page was opened."));
}

function memberEvent(kind, rows) {
  for (const row of rows) {
    const old = members.get(row.name);
    if (kind === "member-reap") {
      members.delete(row.name);
      continue;
    }
    if (kind === "member-join" && old?.status === "failed") {
      flaps.set(row.name, (flaps.get(row.name) ?? 0) + 1);
    }
    const addr = row.addr.includes(":") ? `[${row.addr}]:${row.port}` : `${row.addr}:${row.port}`;
    prepare({ ...row, addr });
  }
  if (kind === "member-join") refreshSoon();
  const names = rows.slice(0, 8).map((row) => row.name).join(", ");
  note("member", kind.slice(7), rows.length > 8 ? `${names} and ${rows.length - 8} more` : names);
  changed();
}

// Bytes that are no text come as {hex}.
const readable = (value) => (value?.hex ? `0x${value.hex}` : value);

function received(kind, data) {
  if (kind === "lost") {
    const why = "events were lost: they arrived faster than this page could read them";
    note("note", "lost", `${data.count} ${why}`);
    refresh();
  } else if (kind.startsWith("member-")) {
    memberEvent(kind, data.members);
  } else {
    note(kind, readable(data.name), readable(data.payload));
  }
}

async function listen() {
  const link = $("link");
  let lost = "";
  for (let pause = 1; ; pause = Math.min(2 * pause, 30)) {
    try {
      const answer = await get("/v1/events");
      if (!answer.ok) throw new Refused(`events: ${answer.status}`);
      [link.textContent, link.className, pause] = ["live", "", 1];
      if (lost) note("note", "connected again", `events since ${lost} are missing here`);
      lost = "";
      refresh();
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch {
      // The agent has stopped or has too many streams: retried later.
    }
    lost ||= clock(new Date());
    [link.textContent, link.className] = [`offline since ${lost}`, "down"];
    await new Promise((resolve) => setTimeout(resolve, pause * 1e3));
  }
}

async function read(reader) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const records = (rest + value).split("\n\n");
    rest = records.pop();
    for (const record of records) {
      const [, kind, data] = record.match(/^event: (.*)\ndata: (.*)$/) ?? [];
      if (kind) received(kind, JSON.parse(data));
    }
  }
}

// Periodic requests: less frequent in large clusters.

let refreshing = null;
function refresh() {
  refreshing ??= (async () => {
    try {
      const [info, list, flapped] = await Promise.all([
        json("/v1/agent"), json("/v1/members"), json("/v1/flaps"),
      ]);
      self = info.agent.name;
      members.clear();
      flaps.clear();
      for (const { name, count } of flapped.members) flaps.set(name, count);
      list.members.forEach(prepare);
      drawChoices();
      changed();
      const space = await json("/v1/coordinates");
      coordinates.clear();
      for (const { node, ...coordinate } of space.coordinates) coordinates.set(node, coordinate);
      placeAll();
      changed();
      document.body.dataset.loaded = members.size;
    } catch {
      // The states of the stream and of health already show it.
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

// Events tell neither version nor coordinate of a new member, nor the end of an old leave.
let soon = 0;
function refreshSoon() {
  if (soon || members.size > 1000) return;
  soon = setTimeout(() => {
    soon = 0;
    if (!document.hidden) refresh();
  }, 2e3);
}

function drawChoices() {
  const [status, colour] = [$("status"), $("colour")];
  const keep = [status.value, colour.value];
  const option = (value, text) => new Option(text, value);
  status.replaceChildren(option("", "all statuses"), ...STATUSES.map((s) => option(s, s)));
  const tags = new Set();
  for (const row of members.values()) Object.keys(row.tags ?? {}).forEach((tag) => tags.add(tag));
  colour.replaceChildren(option("", "status"),
    ...[...tags].sort().slice(0, 50).map((tag) => option(tag, `tag ${tag}`)));
  [status.value, colour.value] = keep;
  if (colour.selectedIndex < 0) colour.value = "";
}

async function health() {
  const [badge, box] = [$("health"), $("reasons")];
  try {
    const { ready, reasons } = await (await get("/health/ready")).json();
    badge.textContent = ready ? "ready" : "not ready";
    badge.className = ready ? "dot good" : "dot bad";
    const texts = reasons.map(({ reason, detail }) => `${reason}: ${detail}`);
    if (box.innerText.trim() !== texts.join("\n")) {
      box.replaceChildren(...texts.map((text) => make("p", "", text)));
    }
    box.hidden = ready;
    const { agent, serf } = await json("/v1/agent");
    $("node").textContent = agent.name;
    document.title = `${agent.name} · serf`;
    drawQueues(serf);
  } catch {
    badge.textContent = "does not answer";
    badge.className = "dot bad";
    box.hidden = true;
  }
}

function drawQueues(serf) {
  $("queues").replaceChildren(...[
    `queued: ${serf.intent_queue} intents, ${serf.event_queue} events, ${serf.query_queue} queries`,
    `Lamport times: members ${serf.member_time}, events ${serf.event_time}, ` +
      `queries ${serf.query_time}`,
    `health score: ${serf.health_score} (0 is best)`,
    `gossip ${serf.encrypted === "true" ? "is" : "is not"} encrypted`,
  ].map((text) => make("span", "", text)));
}

function begin() {
  const option = ([key, title]) => new Option(`by ${title}`, key);
  $("sort").replaceChildren(...COLUMNS.map(option));
  drawHead();
  drawLog();
  $("filter").addEventListener("input", () => { rows.scrollTop = 0; draw(); });
  $("status").addEventListener("change", () => { rows.scrollTop = 0; draw(); });
  $("sort").addEventListener("change", () => sort($("sort").value, $("sort").value === "flaps"));
  $("colour").addEventListener("change", draw);
  $("kind").addEventListener("change", drawLog);
  rows.addEventListener("scroll", drawRows, { passive: true });
  rows.addEventListener("keydown", keys);
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", paused);
    if (!paused) drawLog();
  });
  const canvas = document.querySelector("canvas");
  canvas.addEventListener("mousemove", (event) => hover(pointAt(event)));
  canvas.addEventListener("mouseleave", () => hover(null));
  canvas.addEventListener("click", (event) => {
    const found = nearest(pointAt(event));
    if (found) {
      pick(found[2].name);
      details(found[2].name);
    }
  });
  for (const button of document.querySelectorAll("nav button")) {
    button.addEventListener("click", () => {
      document.body.dataset.view = button.dataset.go;
      for (const other of document.querySelectorAll("nav button")) {
        other.setAttribute("aria-pressed", other === button);
      }
      draw();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || /INPUT|SELECT/.test(document.activeElement?.tagName)) return;
    event.preventDefault();
    $("filter").focus();
  });
  new ResizeObserver(draw).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const later = async () => {
    await new Promise((resolve) => setTimeout(resolve, members.size > 1000 ? 60e3 : 15e3));
    if (!document.hidden) await refresh();
    later();
  };
  listen();
  health();
  setInterval(() => { if (!document.hidden) health(); }, 5e3);
  later();
}
