// The map: projects the coordinates on the two directions in which they differ most.

let places = [];
const hues = [
  "#1f77b4", "#e07b00", "#2a9d4a", "#c8372d", "#8a63c9", "#a0674a", "#d35ba8", "#159a9c",
];

function principal(all) {
  const size = all[0].vec.length;
  const sum = (term) => all.reduce((s, c) => s + term(c), 0);
  const mean = Array.from({ length: size }, (_, i) => sum((c) => c.vec[i]) / all.length);
  const spread = mean.map((_, i) => mean.map((_, j) =>
    sum((c) => (c.vec[i] - mean[i]) * (c.vec[j] - mean[j]))));
  const axes = [];
  for (let n = 0; n < 2; n++) {
    let axis = mean.map((_, i) => 1 + ((i * 7 + n * 3) % 5));
    for (let turn = 0; turn < 60; turn++) {
      axis = spread.map((line) => line.reduce((s, x, i) => s + x * axis[i], 0));
      for (const other of axes) {
        const along = axis.reduce((s, x, i) => s + x * other[i], 0);
        axis = axis.map((x, i) => x - along * other[i]);
      }
      const length = Math.hypot(...axis) || 1;
      axis = axis.map((x) => x / length);
    }
    axes.push(axis);
  }
  return (c) => axes.map((axis) => axis.reduce((s, x, i) => s + x * (c.vec[i] - mean[i]), 0));
}

let project = null;
function placeAll() {
  const all = [...coordinates.values()].filter((c) => c.vec.length > 1);
  project = all.length > 0 ? principal(all) : null;
  for (const c of all) c.at = project(c);
  for (const row of members.values()) {
    row.rtt = distance(coordinates.get(self), coordinates.get(row.name));
  }
}

function colours() {
  const by = $("colour").value;
  if (!by) {
    const known = Object.fromEntries(STATUSES.map((status) => [status, css(`--${status}`)]));
    return [(row) => known[row.status] ?? known.left, []];
  }
  const counts = new Map();
  for (const { tags } of members.values()) {
    const value = tags?.[by] ?? "";
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, hues.length).map(([value]) => value);
  const hue = new Map(top.map((value, i) => [value, hues[i]]));
  const legend = top.map((value) => [value || "(none)", hue.get(value), counts.get(value)]);
  return [(row) => hue.get(row.tags?.[by] ?? "") ?? css("--dim"), legend];
}

function bounds(points) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of points) {
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  }
  return { left, right, top, bottom };
}

// Drawing thousands of points takes long, so it waits until the browser is idle.
const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 50));
let mapWaits = false;
function drawMapSoon() {
  if (mapWaits) return;
  mapWaits = true;
  const later = () => {
    mapWaits = false;
    drawMap();
  };
  if (shown.length < 1000) later();
  else setTimeout(() => idle(later, { timeout: 500 }), 150);
}

function drawMap() {
  const canvas = document.querySelector("canvas");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const chosen = shown.filter((row) => coordinates.get(row.name)?.at);
  places = [];
  canvas.setAttribute("aria-label", `Map of ${chosen.length} members by round trip times`);
  const [colour, legend] = colours();
  $("legend").replaceChildren(...legend.map(([value, hue, count]) => {
    const item = make("li", "dot", `${value}: ${count}`);
    item.style.color = hue;
    return item;
  }));
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  if (chosen.length === 0) {
    pen.fillStyle = css("--dim");
    pen.fillText(members.size ? "No coordinates yet." : "", 14, 24);
    hover(pointer);
    return;
  }
  const box = bounds(chosen.map((row) => coordinates.get(row.name).at));
  const wide = Math.max(box.right - box.left, box.bottom - box.top, 1e-5);
  // The lowest line is the scale's.
  const tall = height - 30;
  const scale = Math.min(width, tall) * 0.84 / wide;
  const [midX, midY] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
  const radius = chosen.length > 2000 ? 1.6 : chosen.length > 200 ? 2.5 : 4.5;
  const dim = css("--text");
  const faint = chosen.length > 2000 ? 0.6 : 0.9;
  const named = chosen.length <= 40;
  const emphasised = [];
  // Failed members are drawn last, so that the many live ones do not cover them.
  let last = "";
  const rank = (row) => ["left", "alive", "leaving", "failed"].indexOf(row.status);
  for (const row of [...chosen].sort((a, b) => rank(a) - rank(b))) {
    const at = coordinates.get(row.name).at;
    pen.globalAlpha = row.status === "failed" ? 1 : faint;
    const x = width / 2 + (at[0] - midX) * scale, y = tall / 2 + (at[1] - midY) * scale;
    places.push([x, y, row]);
    if (row.name === self || row.name === picked) emphasised.push([x, y, row]);
    const hue = colour(row);
    if (hue !== last) pen.fillStyle = last = hue;
    if (row.status === "failed" || radius < 2) {
      pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      continue;
    }
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  }
  pen.globalAlpha = 1;
  if (named) drawNames(pen, width, dim);
  for (const [x, y, row] of emphasised) {
    pen.strokeStyle = row.name === picked ? css("--accent") : dim;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, radius + 4, 0, 7);
    pen.stroke();
    if (!named) label(pen, width, x, y, row.name, css("--text"));
  }
  drawScale(pen, width, height, scale);
  hover(pointer);
}

function label(pen, width, x, y, name, hue) {
  const text = name.length > 28 ? `${name.slice(0, 27)}…` : name;
  const size = pen.measureText(text).width;
  const from = x + 10 + size > width ? x - 10 - size : x + 10;
  // A halo keeps it readable over points.
  pen.strokeStyle = css("--panel");
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeText(text, from, y + 4);
  pen.fillStyle = hue;
  pen.fillText(text, from, y + 4);
}

// Draws those names that do not overlap another.
function drawNames(pen, width, hue) {
  const taken = [];
  for (const [x, y, row] of places) {
    const box = [x + 10, y - 8, x + 10 + pen.measureText(row.name).width, y + 8];
    const meets = (b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3];
    if (taken.some(meets)) continue;
    taken.push(box);
    label(pen, width, x, y, row.name, hue);
  }
}

function drawScale(pen, width, height, scale) {
  const most = (width / 3) / scale;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  const [x, y] = [14, height - 14];
  pen.strokeStyle = pen.fillStyle = css("--dim");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x, y - 4);
  pen.lineTo(x, y);
  pen.lineTo(x + length * scale, y);
  pen.lineTo(x + length * scale, y - 4);
  pen.stroke();
  const ms = length * 1e3;
  pen.fillText(ms < 1 ? `${+(ms * 1e3).toPrecision(1)} µs` : `${+ms.toPrecision(1)} ms`, x, y - 7);
}

function pointAt(event) {
  const { left, top } = event.currentTarget.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top];
}

function nearest([x, y]) {
  let [best, found] = [15 ** 2, null];
  for (const place of places) {
    const far = (place[0] - x) ** 2 + (place[1] - y) ** 2;
    if (far < best) [best, found] = [far, place];
  }
  return found;
}

// The mouse on the map. Members move under it, so each drawing asks again.
let pointer = null;
function hover(at) {
  pointer = at;
  const [found, tip] = [at && nearest(at), $("tip")];
  tip.hidden = !found;
  if (!found) return;
  const [x, y, row] = found;
  const rtt = row.name === self ? "this agent" : duration(row.rtt);
  tip.textContent = `${row.name} · ${row.status}${rtt ? ` · ${rtt}` : ""}`;
  const room = tip.parentElement.clientWidth - tip.offsetWidth - 4;
  tip.style.left = `${Math.max(4, Math.min(x + 10, room))}px`;
  tip.style.top = `${Math.max(4, y - 34)}px`;
}
