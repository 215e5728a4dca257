// The result: the answer for the patient, and for each recording a player with its plots.
import WaveSurfer from "./wavesurfer.esm.js";

const POSITIVE = JSON.parse(document.body.dataset.positive);
const SVG = "http://www.w3.org/2000/svg";
const SITES = { AV: "aortic valve", PV: "pulmonary valve", TV: "tricuspid valve", MV: "mitral valve", Phc: "another site" };
let players = [];

const percent = (p) => `${(100 * p).toFixed(0)} %`;
const kind = (answer) => (answer === null ? "none" : POSITIVE.includes(answer) ? "positive" : "negative");
const sumPositive = (probabilities) => POSITIVE.reduce((sum, name) => sum + (probabilities[name] ?? 0), 0);

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

export function clearResult(section) {
  players.forEach((player) => player.destroy());
  players = [];
  section.replaceChildren();
  section.hidden = true;
}

export function showResult(section, prediction, requests) {
  clearResult(section);
  section.append(makeAnswer(prediction), makeDownloads(prediction));
  section.hidden = false; // before the players measure their width
  prediction.recordings.forEach((recording, k) => section.append(makeRecording(recording, requests[k])));
  const heading = section.querySelector(".answer");
  heading.focus({ preventScroll: true });
  section.scrollIntoView();
}

function makeAnswer({ patient, answer, reasons, probabilities, recordings, model }) {
  const box = make("div", "patient");
  const left = make("div", "");
  const unused = answer === null ? 0 : recordings.filter((recording) => recording.reasons.length).length;
  const number = (recordings.length === 1 ? "1 recording" : `${recordings.length} recordings`) + (unused ? `, ${unused} not used` : "");
  const heading = make("h2", `answer ${kind(answer)}`, answer ?? "Cannot tell");
  heading.id = "answer";
  heading.tabIndex = -1;
  left.append(make("p", "of", `Patient ${patient}, ${number}`), heading, make("p", "sentence", describe(answer, probabilities)));
  left.append(makeList(reasons));
  box.append(left);
  if (probabilities) box.append(makeBars(probabilities));
  box.append(make("p", "expected hint", describeExpectation(model)));
  return box;
}

// The first two metrics, which are sensitivity and specificity if the model has them.
function describeExpectation({ performance, simulated }) {
  const figure = (value) => value?.toFixed(2) ?? "undefined";
  const metrics = performance.metrics.slice(0, 2).map(
    ({ name, mean, low, high }) => `${name.toLowerCase()} ${figure(mean)} (95 % interval ${figure(low)} to ${figure(high)})`,
  );
  const on = simulated ? "simulated recordings" : "recordings like those of its training";
  const warning = "For research only: do not use this prediction for diagnosis, screening or treatment.";
  return (metrics.length ? `Expected performance of the model on ${on}: ${metrics.join(", ")}. ` : "") + warning;
}

function describe(answer, probabilities) {
  if (answer === null) return "The program gives no answer, because:";
  const sentence = probabilities ? `Estimated probability of ${answer}: ${percent(probabilities[answer])}.` : "";
  return answer === "Unknown" ? `${sentence} Unknown is a class of the training data: recordings too poor for the experts to decide.` : sentence;
}

function makeList(reasons) {
  const list = make("ul", "reasons");
  list.append(...reasons.map((reason) => make("li", "", reason)));
  return list;
}

function makeBars(probabilities) {
  const bars = make("dl", "bars");
  for (const [name, p] of Object.entries(probabilities)) {
    const bar = make("dd", `bar ${kind(name)}`);
    bar.setAttribute("aria-hidden", "true");
    const fill = bar.appendChild(document.createElement("i"));
    fill.style.width = `${100 * p}%`;
    bars.append(make("dt", "", name), bar, make("dd", "number", percent(p)));
  }
  return bars;
}

function makeDownloads(prediction) {
  const row = make("p", "buttons");
  const content = { ...prediction, recordings: prediction.recordings.map(({ spectrogram, murmur_track, ...rest }) => rest) };
  const name = `${prediction.patient.replace(/[^\w.-]+/g, "_")}_prediction`;
  row.append(
    makeDownload("Download as JSON", `${name}.json`, JSON.stringify(content, null, 2) + "\n"),
    makeDownload("Download as CSV", `${name}.csv`, formatCsv(content)),
  );
  return row;
}

function makeDownload(label, name, text) {
  const button = make("button", "", label);
  button.type = "button";
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text]));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  return button;
}

function formatCsv({ patient, recordings, model, ...whole }) {
  const row = (name, site, { answer, probabilities, reasons, quality, heart_rate, murmur_phase }) => [
    patient, name, site, answer ?? "", ...model.classes.map((c) => probabilities?.[c] ?? ""), reasons.join("; "),
    quality?.score ?? "", heart_rate ?? "", murmur_phase?.part ?? "", murmur_phase?.probability ?? "",
  ];
  const header = ["patient", "recording", "site", "answer", ...model.classes.map((c) => `probability_${c}`), "reasons", "quality", "heart_rate", "murmur_phase", "probability_murmur"];
  const rows = [header, row("", "", whole), ...recordings.map((r) => row(r.name, r.site ?? "", r))];
  return rows.map((cells) => cells.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(",") + "\n").join("");
}

function makeRecording(recording, request) {
  const article = document.getElementById("player-template").content.firstElementChild.cloneNode(true);
  const find = (selector) => article.querySelector(selector);
  const { name, site, answer, reasons, probabilities } = recording;
  find("h3").textContent = site ? `${name} (${site}${SITES[site] ? `, ${SITES[site]}` : ""})` : name;
  if (answer === null && reasons.length === 0) {
    find(".site-answer").textContent = "This model predicts patients only, not single recordings.";
  } else {
    const strong = make("strong", kind(answer), answer ?? "Cannot tell");
    find(".site-answer").append(strong, answer === null ? "" : `, estimated probability ${percent(probabilities[answer])}`);
  }
  find(".reasons").append(...reasons.map((reason) => make("li", "", reason)));
  find(".facts").append(...listFacts(recording));
  find(".spectrogram").src = recording.spectrogram.image;
  find(".spectrogram").alt = `Spectrogram of ${name}`;
  find(".frequency .high").textContent = `${recording.spectrogram.max_frequency} Hz`;
  find(".probability .caption").textContent = `P(${POSITIVE.join(" or ")})`;
  find(".curve").append(drawCurve(recording));
  if (recording.murmur_track) find(".track.cycles").append(drawCycles(recording));
  else article.querySelectorAll(".cycles").forEach((element) => element.remove());
  find(".times").append(...makeTimes(recording.seconds));
  connectPlayer(find, recording, request);
  return article;
}

function listFacts({ seconds, rate, quality, heart_rate, murmur_phase }) {
  const facts = [["Duration", `${seconds.toFixed(1)} s`], ["Sample rate", `${rate} Hz`]];
  facts.push(["Signal quality (0 to 1)", quality.score.toFixed(2)]);
  facts.push(["Heart rate", heart_rate === null ? "not found" : `${heart_rate.toFixed(0)} per minute`]);
  if (murmur_phase) facts.push(["Murmur most probable in", `${murmur_phase.part} (${percent(murmur_phase.probability)})`]);
  if (quality.clipped > 0.001) facts.push(["Clipped", percent(quality.clipped)]);
  return facts.map(([term, value]) => {
    const pair = make("div", "");
    pair.append(make("dt", "", `${term}:`), make("dd", "", value));
    return pair;
  });
}

// A picture over the whole recording, 100 units high, and a function that adds a shape to it.
function makePlot(seconds) {
  const svg = document.createElementNS(SVG, "svg");
  const add = (tag, className, attributes) => {
    const shape = svg.appendChild(document.createElementNS(SVG, tag));
    shape.setAttribute("class", className);
    Object.entries(attributes).forEach(([key, value]) => shape.setAttribute(key, value));
  };
  svg.setAttribute("viewBox", `0 0 ${seconds} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  return { svg, add };
}

// The probability of a murmur over time, and below it the heart sounds.
function drawCycles({ seconds, cycles, murmur_track, murmur_phase }) {
  const { svg, add } = makePlot(seconds);
  const points = murmur_track.map(([time, p]) => `${time},${(75 - 73 * p).toFixed(1)}`).join(" ");
  add("polygon", "", { points: `0,75 ${points} ${murmur_track.at(-1)[0]},75` });
  add("polyline", "level", { points, "vector-effect": "non-scaling-stroke" });
  if (seconds <= 90) { // in longer recordings a heart sound is narrower than a pixel
    cycles.filter(({ event }) => event !== "diastole").forEach(({ start, end, event }) => {
      add("rect", event, { x: start, width: end - start, y: 80, height: 18 });
    });
  }
  const n = cycles.filter(({ event }) => event === "S1").length;
  const where = murmur_phase ? `; a murmur is most probable in ${murmur_phase.part}, ${percent(murmur_phase.probability)}` : "";
  svg.setAttribute("aria-label", `Heart sounds: ${n} heartbeats${where}`);
  return svg;
}

// The probability of each segment as a line over its duration; where segments overlap, there are several lines.
function drawCurve({ seconds, segments }) {
  const { svg, add } = makePlot(seconds);
  const fixed = { "vector-effect": "non-scaling-stroke" };
  add("line", "grid", { x1: 0, x2: seconds, y1: 50, y2: 50, ...fixed });
  const values = segments.map(({ probabilities }) => sumPositive(probabilities));
  segments.forEach(({ start, end }, k) => {
    const y = 100 - 98 * values[k] - 1;
    add("rect", "", { x: start, width: end - start, y, height: 100 - y });
    add("line", "level", { x1: start, x2: end, y1: y, y2: y, ...fixed });
  });
  const range = values.length ? `from ${percent(Math.min(...values))} to ${percent(Math.max(...values))}` : "not computed";
  svg.setAttribute("aria-label", `Probability of ${POSITIVE.join(" or ")} over time: ${range}`);
  return svg;
}

function makeTimes(seconds) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200].find((s) => seconds / s <= 6) ?? 3600;
  const times = [];
  for (let t = 0; t < 0.88 * seconds; t += step) times.push(t);
  return [...times, seconds].map((t, k) => {
    const label = make("span", "", k === times.length ? `${seconds.toFixed(1)} s` : String(Number(t.toFixed(1))));
    label.style.left = `${(100 * t) / seconds}%`;
    return label;
  });
}

async function connectPlayer(find, recording, request) {
  const play = find(".play");
  const slider = find("input");
  play.disabled = slider.disabled = true;
  play.setAttribute("aria-label", `Play ${recording.name}`);
  slider.setAttribute("aria-label", `Position in ${recording.name}`);
  const response = await request();
  if (!response || !play.isConnected) return; // another result is shown meanwhile
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name);
  const player = WaveSurfer.create({
    container: find(".wave"), height: 90, cursorWidth: 0, normalize: true, interact: false, cspNonce: document.body.dataset.nonce,
    waveColor: colour("--wave"), progressColor: colour("--played"),
  });
  players.push(player);
  const show = (time) => showPosition(find, recording, time);
  player.on("timeupdate", show);
  player.on("ready", () => {
    play.disabled = slider.disabled = false;
    slider.max = recording.seconds;
    show(0);
  });
  for (const event of ["play", "pause", "finish"]) {
    player.on(event, () => {
      const verb = player.isPlaying() ? "Pause" : "Play";
      play.textContent = verb;
      play.setAttribute("aria-label", `${verb} ${recording.name}`);
    });
  }
  play.addEventListener("click", () => {
    players.filter((other) => other !== player).forEach((other) => other.pause());
    player.playPause();
  });
  slider.addEventListener("input", () => player.setTime(Number(slider.value)));
  for (const track of find(".plots").querySelectorAll(".track")) {
    track.addEventListener("click", (event) => {
      const { left, width } = track.getBoundingClientRect();
      player.setTime(((event.clientX - left) / width) * recording.seconds);
    });
  }
  player.loadBlob(await response.blob());
}

function showPosition(find, { seconds, segments, cycles }, time) {
  const values = segments.filter(({ start, end }) => start <= time && time < end).map(({ probabilities }) => sumPositive(probabilities));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const state = cycles?.find(({ start, end }) => start <= time && time < end)?.event;
  const text = `${time.toFixed(1)} of ${seconds.toFixed(1)} s` + (values.length ? `, ${POSITIVE.join(" or ")} ${percent(mean)}` : "") + (state ? `, ${state}` : "");
  find(".cursor").style.left = `${(100 * time) / seconds}%`;
  find(".now").textContent = text;
  const slider = find("input");
  slider.value = time;
  slider.setAttribute("aria-valuetext", text);
}
