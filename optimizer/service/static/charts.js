"use strict";
// Charts: figures that came with the page as JSON, and a study's own, drawn of its trials as one toggles them.

const CONFIG = { responsive: true, displayModeBar: false, displaylogo: false };
const SERIES = [
  // kind, name, colour (Okabe and Ito's), symbol: told apart without colours, too
  ["search", "search", "#56b4e9", "circle"],
  ["K", "K-quant presets", "#0072b2", "square"],
  ["IQ", "IQ presets", "#009e73", "diamond"],
  ["other", "other presets", "#8a8f98", "cross"],
  ["baseline", "hybrids and uniform", "#cc79a7", "triangle-up"],
];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function themed(value) {
  if (typeof value === "string") return value.replace(/(?<!%)\{(muted|panel|text|line)\}/g, (_, name) => colour(name));
  if (Array.isArray(value)) return value.map(themed);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each)]));
  }
  return value;
}

function axis(given) {
  return { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), ...given };
}

async function draw(place, figure) {
  const { data, layout } = themed(figure);
  const narrow = place.clientWidth < 520;
  const margin = { ...layout.margin };
  if (narrow) margin.l = Math.min(margin.l, 62);
  await Plotly.react(place, data, {
    ...layout,
    margin,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("text"), family: "system-ui, sans-serif", size: narrow ? 11 : 13 },
    hoverlabel: { align: "left" },
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
  }, CONFIG);
  place.classList.add("drawn");
}

function nothing(place, text) {
  if (place.classList.contains("drawn")) Plotly.purge(place);
  place.classList.remove("drawn");
  place.dataset.nothing = text;
}

function shown() {
  const source = document.querySelector("#study-data") || document.querySelector("#chart-data");
  return source ? JSON.parse(source.textContent) : { figures: {} };
}

function trialsOf(data) {
  return data.rows.map((row) => Object.fromEntries(data.columns.map((name, number) => [name, row[number]])));
}

function kindOf(trial) {
  if (trial.kind === "search") return "search";
  if (trial.kind !== "preset") return "baseline";
  if (trial.name.startsWith("IQ")) return "IQ";
  return trial.name.includes("_K") ? "K" : "other";
}

function value_of(form, name) {
  return form.elements[name].value;
}

const UP = {
  kld: { title: "mean KLD (nats per token)", type: "log", value: (t) => t.kld, error: (t) => t.error },
  perplexity: { title: "perplexity", type: "linear", value: (t) => t.perplexity, error: (t) => t.perplexity_error },
  solved: { title: "prompts solved", type: "linear", value: (t) => t.solved, error: () => 0 },
  speed: { title: "tokens per second while answering", type: "linear", value: (t) => t.speed, error: () => 0 },
};

function front(data, form) {
  const [across, up, text] = ["x", "y", "text"].map((name) => value_of(form, name));
  const y = UP[up];
  const size = (n) => (across === "bpw" ? (8 * n) / data.parameters : n);
  const points = text === "report" ? data.report : trialsOf(data);
  const winner = (t) => (text === "report" ? t.kind === "winner" : t.number === data.best);
  const usable = (t) => y.value(t) !== null && y.value(t) !== undefined && (up !== "kld" || y.value(t) > 0);
  const label = (t) => (winner(t) && text === "report" ? t.name : t.name || `trial ${t.number}`);
  const hover = (t) => `${label(t)}<br>${t.bytes.toLocaleString("en")} bytes<br>${y.title}: ${Number(y.value(t).toPrecision(5))}`
    + (y.error(t) ? ` ± ${Number(y.error(t).toPrecision(2))}` : "") + (t.note ? `<br>${t.note.slice(0, 80)}` : "");
  const trace = (name, some, marker, more = {}) => ({
    type: "scatter", mode: "markers", name, x: some.map((t) => size(t.bytes)), y: some.map(y.value), marker,
    error_y: { type: "data", array: some.map((t) => y.error(t) || 0), width: 0, thickness: 1 },
    hovertext: some.map(hover), hoverinfo: "text", customdata: some.map((t) => t.number), ...more,
  });
  const traces = [];
  const good = points.filter(usable);
  const steps = stepsOf(good, y, up);
  if (steps.length > 1) {
    traces.push({
      type: "scatter", mode: "lines", name: "front", x: steps.map((t) => size(t.bytes)), y: steps.map(y.value),
      line: { color: "{muted}", width: 1, dash: "dot" }, hoverinfo: "skip",
    });
  }
  const estimated = up === "kld" && text === "search" ? points.filter((t) => t.estimate > 0) : [];
  if (estimated.length) {
    const estimate = (t) => ({ ...t, kld: t.estimate, error: null });
    const some = estimated.map(estimate);
    traces.push(trace("given up early (estimated)", some, { color: "{muted}", symbol: "circle-open", size: 7 },
      { text: some.map((t) => (t.kind === "preset" ? t.name : "")), mode: "markers+text", textposition: "top center",
        textfont: { color: "{muted}", size: 11 } }));
  }
  for (const [kind, name, shade, symbol] of SERIES) {
    const some = good.filter((t) => kindOf({ ...t, kind: t.kind === "winner" ? "search" : t.kind }) === kind && !winner(t));
    if (!some.length) continue;
    const named = ["K", "IQ"].includes(kind);
    traces.push(trace(name, some, { color: shade, symbol, size: 9 },
      named ? { mode: "markers+text", text: some.map((t) => t.name), textposition: "top center" } : {}));
  }
  const best = good.filter(winner);
  if (best.length) {
    traces.push(trace(text === "report" ? "winner" : "best", best, { color: "#d55e00", symbol: "star", size: 18 },
      { mode: "markers+text", text: best.map((t) => (text === "report" ? t.name : `trial ${t.number}`)),
        textposition: "bottom center", textfont: { color: "{text}", size: 14 } }));
  }
  if (!best.length && !good.length && !estimated.length) return null;
  return {
    data: traces,
    layout: {
      xaxis: { title: { text: across === "bpw" ? "bits per weight" : "file size (bytes)" }, exponentformat: "SI" },
      yaxis: { title: { text: y.title }, type: y.type, exponentformat: "power" },
      legend: { orientation: "h", y: -0.2 }, margin: { l: 76, r: 20, t: 30, b: 60 }, height: 480,
      shapes: data.budgets.map((n) => ({ type: "line", x0: size(n), x1: size(n), y0: 0, y1: 1, yref: "paper",
        line: { width: 1, dash: "dot", color: "{muted}" } })),
      annotations: data.budgets.map((n) => ({ x: size(n), y: 1, yref: "paper", yanchor: "bottom", xanchor: "right",
        text: "budget", showarrow: false, font: { color: "{muted}" } })),
    },
  };
}

function stepsOf(points, y, up) {
  const better = ["solved", "speed"].includes(up) ? (a, b) => a > b : (a, b) => a < b;
  const sorted = points.filter((t) => !["kept out", "by luck"].includes(t.state))
    .sort((a, b) => a.bytes - b.bytes || (better(y.value(a), y.value(b)) ? -1 : 1));
  const kept = [];
  for (const each of sorted) if (!kept.length || better(y.value(each), y.value(kept.at(-1)))) kept.push(each);
  return kept;
}

function overTokens(data) {
  let tokens = data.tokens_before;
  const points = [];
  const steps = [];
  const rivals = new Set(data.rivals);
  for (const trial of trialsOf(data)) {
    tokens += trial.tokens;
    if (!(trial.kld > 0)) continue;
    points.push([tokens, trial]);
    if (trial.state !== "complete" || rivals.has(trial.name)) continue;
    if (!steps.length || trial.kld < steps.at(-1)[1]) steps.push([tokens, trial.kld]);
  }
  if (!points.length) return null;
  if (steps.length) steps.push([tokens, steps.at(-1)[1]]);
  return {
    data: [
      { type: "scatter", mode: "lines", name: "least so far", x: steps.map((s) => s[0]), y: steps.map((s) => s[1]),
        line: { shape: "hv", color: "#d55e00" }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", name: "trials", x: points.map((p) => p[0]), y: points.map((p) => p[1].kld),
        hovertext: points.map(([n, t]) => `trial ${t.number}${t.name ? `, ${t.name}` : ""}<br>KLD ${t.kld.toFixed(6)}<br>${n.toLocaleString("en")} tokens`),
        hoverinfo: "text", customdata: points.map((p) => p[1].number), marker: { color: "#56b4e9", size: 7 } },
    ],
    layout: {
      xaxis: { title: { text: "tokens evaluated" }, exponentformat: "SI" },
      yaxis: { title: { text: "KLD" }, type: "log", exponentformat: "power" },
      showlegend: false, margin: { l: 76, r: 20, t: 10, b: 60 }, height: 400,
    },
  };
}

// Points lie on one another at the budget: a click on the star means the star, whatever lies below it.
function onTheStar(place, event) {
  const star = [...place.querySelectorAll(".scatterlayer .trace")].at(-1)?.querySelector("path.point");
  const box = star?.getBoundingClientRect();
  return box && event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
}

function opensTrials(place, study) {
  if (place.dataset.opens) return;
  place.dataset.opens = "yes";
  place.on("plotly_click", ({ points, event }) => {
    const last = place.data.at(-1);
    const best = last.marker?.symbol === "star" ? last.customdata[0] : null;
    const number = best !== null && onTheStar(place, event) ? best : points[0].customdata;
    if (number !== null && number !== undefined) location.assign(`/studies/${encodeURIComponent(study)}/trials/${number}`);
  });
}

async function drawAll() {
  const data = shown();
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = data.figures[place.dataset.figure];
    const closed = place.closest("details:not([open])");
    if (!figure) nothing(place, "nothing to draw yet");
    else if (!closed) await draw(place, figure);
  }
  const form = document.querySelector("#front-toggles");
  if (!form) return;
  document.querySelector("#map-of").textContent = data.best_label || "the winner";
  form.elements.x[1].disabled = !data.parameters;
  form.elements.text[1].disabled = !data.report.length;
  const asked = data.rows.some((row) => row[data.columns.indexOf("solved")] !== null) || data.report.some((t) => t.solved !== null);
  const timed = data.rows.some((row) => row[data.columns.indexOf("speed")] !== null) || data.report.some((t) => t.speed !== null);
  form.elements.y[2].disabled = !asked;
  form.elements.y[3].disabled = !timed;
  document.querySelector("#speed-note").hidden = value_of(form, "y") !== "speed";
  for (const [id, figure] of [["front", front(data, form)], ["tokens", overTokens(data)]]) {
    const place = document.getElementById(id);
    if (!figure) nothing(place, "nothing measured yet");
    else {
      await draw(place, figure);
      opensTrials(place, data.study);
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  drawAll();
  document.querySelector("#front-toggles")?.addEventListener("change", drawAll);
  document.querySelectorAll("details").forEach((each) => each.addEventListener("toggle", drawAll));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id === "live" || event.target.id === "live") drawAll();
});
