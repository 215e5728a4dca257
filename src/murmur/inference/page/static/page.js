// The page: which recordings are chosen, the request to the server, and errors.
import { clearResult, showResult } from "./result.js";
import { Recorder } from "./recorder.js";

const $ = (id) => document.getElementById(id);
const MAX_UPLOAD = Number(document.body.dataset.maxUpload);
const ID_SITE = /^(.+?)_(AV|PV|TV|MV|Phc)(_\d+)?$/i; // as in patients.py
const ENDED = "The program has ended, so this page cannot predict or play any more recordings. Start it again in a terminal: ";

let recordings = []; // {name, files, site}; a WFDB record has several files
let isBusy = false;

const stem = (name) => name.replace(/\.[^.]*$/, "");

function guessSite(name) {
  const found = stem(name).match(ID_SITE)?.[2].toUpperCase() ?? "";
  return found === "PHC" ? "Phc" : found;
}

function addFiles(files) {
  showProblem(null);
  const headers = new Set([...files, ...recordings.flatMap((r) => r.files)].filter((f) => f.name.endsWith(".hea")).map((f) => stem(f.name)));
  for (const file of files) {
    const record = headers.has(stem(file.name)) && recordings.find((r) => stem(r.name) === stem(file.name));
    if (record) {
      record.files.push(file);
      record.name = `${stem(file.name)}.hea`;
      continue;
    }
    recordings.push({ name: file.name, files: [file], site: guessSite(file.name) });
  }
  showRecordings();
}

// A result of other recordings or sites must not remain beside the list.
function showRecordings() {
  clearResult($("result"));
  $("recordings").replaceChildren(...recordings.map(makeRow));
  $("predict").disabled = isBusy || recordings.length === 0;
}

function makeRow(recording) {
  const row = $("recording-template").content.firstElementChild.cloneNode(true);
  row.querySelector(".name").textContent = recording.files.length > 1 ? `${recording.name} (${recording.files.length} files)` : recording.name;
  const select = row.querySelector("select");
  select.value = recording.site;
  select.setAttribute("aria-label", `Site of ${recording.name}`);
  select.addEventListener("change", () => {
    recording.site = select.value;
    clearResult($("result"));
  });
  const remove = row.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${recording.name}`);
  remove.addEventListener("click", () => {
    removeRecordings((other) => other === recording);
    ($("recordings").querySelector(".remove") ?? $("files")).focus();
  });
  return row;
}

function removeRecordings(isRemoved) {
  recordings = recordings.filter((recording) => !isRemoved(recording));
  showProblem(null);
  showRecordings();
}

function showProblem(text, buttons = []) {
  const box = $("problem");
  box.replaceChildren();
  box.hidden = !text;
  if (!text) return;
  const sentence = document.createElement("p");
  sentence.textContent = text;
  box.append(sentence);
  if (buttons.length === 0) return;
  const row = document.createElement("p");
  row.className = "buttons";
  for (const [label, action] of buttons) row.append(makeButton(label, action));
  box.append(row);
}

function makeButton(label, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", action);
  return button;
}

async function isRunning() {
  try {
    return (await fetch("/status")).ok;
  } catch {
    return false;
  }
}

async function showWhetherRunning() {
  const running = await isRunning();
  if (!running && $("ended").hidden) {
    const command = document.createElement("code");
    command.textContent = "murmur serve";
    $("ended").replaceChildren(ENDED, command);
  }
  $("ended").hidden = running;
  return running;
}

// Returns the response, or null after it has shown what is wrong.
async function post(address, chosen, more = {}) {
  const form = new FormData();
  for (const recording of chosen) {
    for (const file of recording.files) {
      form.append("files", file, file.name);
      form.append("sites", recording.site);
    }
  }
  for (const [key, value] of Object.entries(more)) form.append(key, value);
  try {
    const response = await fetch(address, { method: "POST", body: form, headers: { "X-Murmur": "page" } });
    if (response.ok) return response;
    showRefusal(await response.json());
  } catch {
    if (await showWhetherRunning()) {
      showProblem("The recordings could not be sent. If a file was moved, deleted or changed, remove it and choose it again.");
    }
  }
  return null;
}

function showRefusal({ error, patients }) {
  if (!patients) return showProblem(error);
  const buttons = [["They are of one patient: predict", () => predict({ one_patient: "yes" })]];
  for (const patient of patients) {
    const isOfPatient = (recording) => stem(recording.name).match(ID_SITE)?.[1] === patient;
    buttons.push([`Remove those of ${patient}`, () => { removeRecordings(isOfPatient); $("predict").focus(); }]);
  }
  return showProblem(error, buttons);
}

async function predict(more = {}) {
  showProblem(null);
  const size = recordings.flatMap((r) => r.files).reduce((sum, file) => sum + file.size, 0);
  if (size > MAX_UPLOAD * 2 ** 20) {
    return showProblem(`These files are larger than ${MAX_UPLOAD} MB in all (${(size / 2 ** 20).toFixed(0)} MB). Remove some, or choose shorter recordings.`);
  }
  setBusy(true);
  try {
    const chosen = [...recordings];
    const response = await post("/predict", chosen, more);
    if (response) {
      const prediction = await response.json();
      showResult($("result"), prediction, chosen.map((recording) => () => post("/wav", [recording])));
      $("clear").hidden = false;
    }
  } finally {
    setBusy(false);
  }
}

function setBusy(busy) {
  isBusy = busy;
  $("predict").disabled = busy || recordings.length === 0;
  $("result").setAttribute("aria-busy", busy);
  $("status").textContent = busy ? "Computing the prediction …" : "";
  if (busy) clearResult($("result"));
}

function startAgain() {
  $("clear").hidden = true;
  removeRecordings(() => true);
  $("files").focus();
}

function acceptDrops() {
  const drop = $("drop");
  window.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const isFolder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
    if (isFolder) showProblem("This is a folder. Open it and drop the recordings in it.");
    else addFiles(event.dataTransfer.files);
  });
}

function connectRecorder() {
  const button = $("record");
  const recorder = new Recorder((seconds) => { button.textContent = `Stop (${seconds.toFixed(0)} s)`; });
  let number = 0;
  button.addEventListener("click", async () => {
    showProblem(null);
    try {
      if (recorder.isRunning) {
        number += 1;
        addFiles([recorder.stop(`microphone ${number}.wav`)]);
        $("status").textContent = "Recorded. Choose its site.";
      } else {
        await recorder.start();
        $("status").textContent = "Recording. Hold the microphone still; ten seconds or more are needed for a good prediction.";
      }
    } catch (error) {
      showProblem(error.message);
    }
    button.classList.toggle("recording", recorder.isRunning);
    button.textContent = recorder.isRunning ? "Stop (0 s)" : "Record with the microphone";
  });
}

$("files").addEventListener("change", (event) => {
  addFiles(event.target.files);
  event.target.value = ""; // the same file can be chosen again
});
$("predict").addEventListener("click", () => predict());
$("clear").addEventListener("click", startAgain);
acceptDrops();
connectRecorder();
setInterval(() => { if (!document.hidden) showWhetherRunning(); }, 4000);
