// Draws the cluster that playground.wasm runs. The module computes everything that a node does; this
// file only lets time pass, draws, and passes on what the sliders say.
"use strict";

const element = (id) => document.getElementById(id);
const COLOURS = { runs: "#39629b", knows: "#2f8f4e", suspect: "#e0a21b", dead: "#b8352a", stopped: "#bbb" };
const LINES = ["#39629b33", "#2f8f4eaa", "#7d4a9ccc"];
const PACKET = 5;
// Virtual time that a packet stays on the screen, in seconds.
const TRAIL = 0.06;

let wasm;
let places = [];
let trail = [];
let curve = [];
let news = { half: null, all: null };
let theory = { half: 0, all: 0 };
let count = 0;
let seed = 1;
// Virtual microseconds that a step of the wall clock left over.
let debt = 0;

function start() {
  count = Number(element("nodes").value);
  wasm.start(count, seed++);
  places = Array.from({ length: count }, (_, at) => {
    const angle = (2 * Math.PI * at) / count - Math.PI / 2;
    // Two rings, so that lines between neighbours can be seen.
    const radius = count > 60 && at % 2 ? 0.36 : 0.45;
    return [0.5 + radius * Math.cos(angle), 0.5 + radius * Math.sin(angle)];
  });
  trail = [];
  curve = [];
  news = { half: null, all: null };
  theory = { half: age(0.5), all: age(1 - 0.5 / count) };
  settings();
  element("theory").textContent = `${theory.half.toFixed(2)} s, ${theory.all.toFixed(2)} s`;
}

// The age at which the model has this share.
function age(share) {
  let [low, high] = [0, 60];
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (wasm.theory(middle) < share) low = middle;
    else high = middle;
  }
  return high;
}

function settings() {
  const value = (id) => Number(element(id).value);
  element("nodes-is").textContent = value("nodes");
  element("loss-is").textContent = `${value("loss")} %`;
  element("cut-is").textContent = `${value("cut")} %`;
  element("speed-is").textContent = `${value("speed")} % of real time`;
  wasm.set_loss(value("loss") / 100);
  wasm.set_cut(value("cut") / 100);
}

function tell() {
  const states = nodes();
  const running = places.map((_, at) => at).filter((at) => states[at] & 1);
  if (!running.length) return;
  wasm.tell(running[Math.floor(Math.random() * running.length)]);
  curve = [];
  news = { half: null, all: null };
}

// A byte for each node; the module's memory may have moved since the last call.
function nodes() {
  return new Uint8Array(wasm.memory.buffer, wasm.nodes(), count);
}

// Lets virtual microseconds pass, in steps that a curve can be drawn of.
function advance(micros) {
  for (let left = micros; left > 0; left -= 5000) {
    const packets = wasm.advance(Math.min(left, 5000));
    const bytes = new DataView(wasm.memory.buffer, wasm.packets(), packets * PACKET);
    const now = wasm.now();
    for (let at = 0; at < packets * PACKET; at += PACKET) {
      const [from, to] = [bytes.getUint16(at, true), bytes.getUint16(at + 2, true)];
      if (from < count && to < count) trail.push([now, from, to, bytes.getUint8(at + 4)]);
    }
    note();
  }
}

function note() {
  const since = wasm.since_news();
  if (since < 0) return;
  const known = wasm.knowing();
  if (curve.length < 2000) curve.push([since, known / count]);
  if (news.half === null && known >= count / 2) news.half = since;
  if (news.all === null && known >= count) news.all = since;
}

function draw() {
  const canvas = element("field");
  const context = canvas.getContext("2d");
  const size = canvas.width;
  context.clearRect(0, 0, size, size);
  const now = wasm.now();
  trail = trail.filter(([at]) => now - at < TRAIL).slice(-4000);
  for (const sort of [0, 2, 1]) {
    context.strokeStyle = LINES[sort];
    context.lineWidth = sort === 0 ? 1 : 2;
    context.beginPath();
    for (const [, from, to, of] of trail) {
      if (of !== sort) continue;
      context.moveTo(places[from][0] * size, places[from][1] * size);
      context.lineTo(places[to][0] * size, places[to][1] * size);
    }
    context.stroke();
  }
  const states = nodes();
  const radius = count > 150 ? 7 : 10;
  places.forEach(([x, y], at) => {
    const state = states[at];
    const kind = !(state & 1) ? "stopped" : state & 8 ? "dead" : state & 4 ? "suspect" : state & 2 ? "knows" : "runs";
    context.fillStyle = COLOURS[kind];
    context.beginPath();
    context.arc(x * size, y * size, radius, 0, 7);
    context.fill();
    if (kind === "stopped" && state & 12) {
      context.lineWidth = 3;
      context.strokeStyle = state & 8 ? COLOURS.dead : COLOURS.suspect;
      context.stroke();
    }
  });
  element("time").textContent = `${now.toFixed(1)} s`;
  element("false").textContent = wasm.false_failures();
  if (wasm.since_news() >= 0) {
    element("known").textContent = `${wasm.knowing()} of ${count}`;
    const shown = (value) => (value === null ? "…" : `${value.toFixed(2)} s`);
    element("reached").textContent = `${shown(news.half)}, ${shown(news.all)}`;
  }
  drawCurve();
}

function drawCurve() {
  const canvas = element("curve");
  const context = canvas.getContext("2d");
  const [width, height, edge] = [canvas.width, canvas.height, 40];
  const span = Math.max(2, Math.min(20, Math.ceil(curve.length ? curve[curve.length - 1][0] : 2)));
  const x = (seconds) => edge + (seconds / span) * (width - edge - 40);
  const y = (share) => height - edge - share * (height - edge - 16);
  context.clearRect(0, 0, width, height);
  context.strokeStyle = "#ccc";
  context.lineWidth = 1;
  context.fillStyle = "#555";
  context.font = "20px system-ui, sans-serif";
  for (const share of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(x(0), y(share));
    context.lineTo(x(span), y(share));
    context.stroke();
    context.fillText(`${share * 100}`, 4, y(share) + 7);
  }
  for (let second = 0; second <= span; second += span > 8 ? 4 : 1) {
    context.fillText(`${second} s`, x(second) - 8, height - 12);
  }
  const line = (points) => {
    context.beginPath();
    points.forEach(([at, share], n) => context[n ? "lineTo" : "moveTo"](x(Math.min(at, span)), y(share)));
    context.stroke();
  };
  context.lineWidth = 2;
  context.strokeStyle = "#777";
  context.setLineDash([8, 8]);
  line(Array.from({ length: 101 }, (_, n) => [(n / 100) * span, wasm.theory((n / 100) * span)]));
  context.setLineDash([]);
  context.lineWidth = 3;
  context.strokeStyle = COLOURS.knows;
  if (curve.length) line(curve);
}

function frame(last) {
  requestAnimationFrame((now) => {
    const speed = Number(element("speed").value) / 100;
    // A tab that was hidden does not catch up.
    debt += Math.min(now - last, 100) * 1000 * speed;
    advance(Math.floor(debt));
    debt %= 1;
    draw();
    frame(now);
  });
}

function clicked(event) {
  const box = element("field").getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const far = ([px, py]) => (px - x) ** 2 + (py - y) ** 2;
  const nearest = places.reduce((best, place, at) => (far(place) < far(places[best]) ? at : best), 0);
  if (far(places[nearest]) < 0.002) wasm.toggle(nearest);
}

async function main() {
  const response = await fetch("playground.wasm");
  if (!response.ok) throw new Error(`playground.wasm: ${response.status}`);
  const { instance } = await WebAssembly.instantiate(await response.arrayBuffer(), {});
  wasm = instance.exports;
  element("tell").onclick = tell;
  element("again").onclick = start;
  element("nodes").oninput = start;
  for (const id of ["loss", "cut", "speed"]) element(id).oninput = settings;
  element("field").onclick = clicked;
  start();
  // For tests: lets time pass at once.
  window.playground = { wasm, advance, draw, tell, get state() {
    return { count, news, theory, time: wasm.now(), knowing: wasm.knowing(), packets: trail.length };
  } };
  frame(performance.now());
}

main().catch((error) => {
  element("failed").textContent = `The simulator did not start: ${error.message}. It needs WebAssembly, and a server: scripts/book serve.`;
});
