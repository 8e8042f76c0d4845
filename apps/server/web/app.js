// The page: pictures in, captions, matches and answers out.
import * as api from "./api.js";
import * as history from "./history.js";
import { HeatMap, showWords } from "./heatmap.js";
import { applyLanguage, label, switchLanguage, t } from "./i18n.js";

const $ = (id) => document.getElementById(id);
const SETTINGS = [
  "model",
  "beams",
  "min_length",
  "max_length",
  "sample",
  "temperature",
  "top_p",
  "seed",
  "key",
];
const PARALLEL = 4;
const pictures = []; // {file, name, card, conversation}
const rows = []; // of the table: {task, name, text, value, ms}
let number = 0;
let models = [];

function say(text) {
  $("message").textContent = text;
}

// ---- settings ----

function setting(name) {
  return $(name).type === "checkbox" ? $(name).checked : $(name).value;
}

function loadSettings() {
  for (const name of SETTINGS) {
    const value = localStorage.getItem(name);
    if (value === null) continue;
    if ($(name).type === "checkbox") $(name).checked = value === "true";
    else $(name).value = value;
  }
}

function options(task) {
  const fields = { model: setting("model") };
  if (task === "match") return fields;
  if (
    models.some(
      (model) =>
        [model.id, ""].includes(fields.model) &&
        model.tasks.includes("attention") &&
        model.tasks.includes(task),
    )
  )
    fields.attention = "true";
  if (!setting("sample")) fields.beams = setting("beams");
  if (task === "caption")
    Object.assign(fields, { min_length: setting("min_length"), max_length: setting("max_length") });
  if (setting("sample"))
    Object.assign(fields, {
      sample: "true",
      temperature: setting("temperature"),
      top_p: setting("top_p"),
      seed: setting("seed"),
    });
  return fields;
}

function showModels() {
  const chosen = localStorage.getItem("model") || "";
  $("model").replaceChildren(new Option(t("defaultModel"), ""));
  for (const model of models)
    $("model").add(new Option(`${model.id} (${model.tasks.join(", ")})`, model.id));
  $("model").value = models.some((model) => model.id === chosen) ? chosen : "";
  $("status").textContent = models
    .map(
      (model) => `${model.id}: ${model.device}, ${model.dtype}, ${model.threads} ${t("threads")}`,
    )
    .join("; ");
}

// Ranges and defaults are those of the API. What is left empty is not sent, so that the server's
// own default counts.
async function loadRanges() {
  // Without the description the server still checks.
  const description = await api.getJson("openapi.json").catch(() => null);
  const fields =
    description?.paths["/v1/caption"].post.requestBody.content["application/json"].schema
      .properties;
  for (const input of document.querySelectorAll("#settings-form input[type=number]")) {
    const field = fields?.[input.id];
    if (!field) continue;
    if (!input.step) input.min = field.minimum; // a step begins at the page's own minimum
    input.max = field.maximum;
    if (field.default !== undefined) input.placeholder = field.default;
  }
}

async function loadModels() {
  try {
    models = (await api.getJson("v1/models")).data;
    showModels();
  } catch (error) {
    $("status").textContent = error.message;
  }
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = t(name === "dark" ? "light" : "dark");
  localStorage.setItem("theme", name);
}

// ---- pictures ----

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Browsers name no type of files that they do not know; the server says which endings it reads.
function isPicture(file) {
  const name = file.name.toLowerCase();
  return (
    file.type.startsWith("image/") ||
    $("files")
      .accept.split(",")
      .some((kind) => kind.startsWith(".") && name.endsWith(kind))
  );
}

function addPicture(file) {
  if (!isPicture(file)) return say(`${file.name} ${t("notImage")}`);
  say("");
  const picture = { file, name: file.name || "picture", conversation: [], id: ++number };
  const card = element("li", "card");
  const image = element("img");
  image.src = URL.createObjectURL(file);
  image.alt = picture.name;
  picture.heat = new HeatMap(image);
  picture.output = element("div");
  picture.output.setAttribute("aria-live", "polite");
  picture.talk = element("dl", "talk");
  picture.meta = element("p", "meta");
  const removeButton = element("button", "", t("remove"));
  removeButton.type = "button";
  removeButton.dataset.i18n = "remove";
  label(removeButton, "remove", picture.name);
  picture.remove = () => {
    URL.revokeObjectURL(image.src);
    card.remove();
    pictures.splice(pictures.indexOf(picture), 1);
    $("files").focus();
  };
  removeButton.addEventListener("click", picture.remove);
  card.append(
    element("h3", "", picture.name),
    picture.heat.frame,
    picture.output,
    picture.talk,
    askForm(picture),
    picture.meta,
    removeButton,
  );
  picture.card = card;
  $("cards").append(card);
  pictures.push(picture);
  return picture;
}

function askForm(picture) {
  const box = element("form");
  const input = element("input");
  input.id = "question-" + picture.id;
  input.required = true;
  input.maxLength = 500;
  label(input, "question", picture.name);
  const sendButton = element("button", "", t("send"));
  sendButton.dataset.i18n = "send";
  box.append(input, sendButton);
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (!question) return;
    input.value = "";
    await guarded(picture, () => askAbout(picture, question));
    input.focus();
  });
  picture.form = box;
  box.hidden = task() !== "ask";
  return box;
}

// ---- tasks ----

const task = () => document.querySelector("input[name=task]:checked").value;

function showTask() {
  $("match-form").hidden = task() !== "match";
  $("ask-hint").hidden = task() !== "ask";
  $("run").hidden = task() === "ask";
  for (const picture of pictures) picture.form.hidden = task() !== "ask";
}

function addRow(picture, kind, text, value, ms) {
  rows.push({ task: kind, name: picture.name, text, value, ms });
  showTable();
}

function showTable() {
  $("table-box").hidden = rows.length === 0;
  $("table-head").replaceChildren(
    ...["task", "name", "text", "value", "time"].map((key) => {
      const cell = element("th", "", t(key));
      cell.scope = "col";
      return cell;
    }),
  );
  $("table-body").replaceChildren(
    ...rows.map((row) => {
      const line = element("tr");
      line.append(
        ...[t(row.task), row.name, row.text, row.value, row.ms.toFixed(1) + " ms"].map((text) =>
          element("td", "", text),
        ),
      );
      return line;
    }),
  );
}

function showMeta(picture, answer, result) {
  const times = Object.entries(result.timings_ms)
    .filter(([, ms]) => ms > 0)
    .map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`);
  picture.meta.textContent = [
    answer.model,
    answer.device,
    `${answer.total_ms.toFixed(1)} ms`,
    ...times,
    ...(result.cached ? [t("cached")] : []),
  ].join(" · ");
}

// Streamed where words are decided one by one. Returns what the answer says of the request and its
// one result.
async function generate(path, fields, onText) {
  if (!setting("sample") && setting("beams") !== "1") {
    const answer = await api.post(path, fields);
    return [answer, answer.results[0]];
  }
  let done;
  onText("");
  await api.stream(path, fields, (event, data) => {
    if (event === "token") onText(data.text);
    if (event === "error") throw new api.ApiError(data.detail);
    if (event === "done") done = data;
  });
  if (!done) throw new api.ApiError(t("failed"));
  return [done, done];
}

// The text, as words that show where the model looked if the server told.
function showText(picture, box, text, words, shown) {
  box.textContent = text;
  if (words?.length) showWords(box, picture.heat, words, picture.name, shown);
}

async function captionOf(picture) {
  const text = element("p", "text", t("busy"));
  picture.heat.clear();
  picture.output.replaceChildren(text);
  const [answer, { attention, ...result }] = await generate(
    "v1/caption",
    { ...options("caption"), image: picture.file },
    (soFar) => {
      text.textContent = soFar;
    },
  );
  showText(picture, text, result.caption, attention?.words);
  showMeta(picture, answer, result);
  addRow(picture, "caption", result.caption, result.score.toFixed(3), answer.total_ms);
  await history.save(picture, "caption", result.caption, result);
}

async function matchOf(picture, texts) {
  picture.heat.clear();
  picture.output.replaceChildren(element("p", "text", t("busy")));
  const answer = await api.post("v1/match", {
    ...options("match"),
    image: picture.file,
    text: texts,
  });
  const [result] = answer.results;
  const score = (match) => match.match_probability ?? match.cosine;
  const sorted = [...result.matches].sort((a, b) => score(b) - score(a));
  const bars = element("ul", "bars");
  for (const match of sorted) {
    const bar = element("li");
    const fill = element("span", "fill");
    fill.style.width = `${Math.max(0, Math.min(1, score(match))) * 100}%`;
    const words = element("span", "label");
    words.append(element("span", "", match.text), element("strong", "", score(match).toFixed(3)));
    bar.append(fill, words);
    bars.append(bar);
    addRow(picture, "match", match.text, score(match).toFixed(4), answer.total_ms);
  }
  picture.output.replaceChildren(bars);
  showMeta(picture, answer, result);
  await history.save(
    picture,
    "match",
    sorted.map((match) => `${match.text}: ${score(match).toFixed(3)}`).join("; "),
    result,
  );
}

async function askAbout(picture, question) {
  const asked = element("dt", "", question);
  const reply = element("dd", "", t("busy"));
  reply.setAttribute("aria-live", "polite");
  picture.talk.append(asked, reply);
  try {
    const fields = { ...options("ask"), image: picture.file, question };
    const [answer, { attention, ...result }] = await generate("v1/ask", fields, (soFar) => {
      reply.textContent = soFar || t("busy");
    });
    showText(picture, reply, result.answer, attention?.words);
    showText(picture, asked, question, attention?.question, question.split(/\s+/));
    showMeta(picture, answer, result);
    addRow(
      picture,
      "ask",
      `${question} ${result.answer}`,
      result.score.toFixed(3),
      answer.total_ms,
    );
    picture.conversation.push({ question, answer: result.answer });
    const summary = picture.conversation
      .map((turn) => `${turn.question} ${turn.answer}`)
      .join("; ");
    await history.save(picture, "ask", summary, picture.conversation);
  } catch (error) {
    reply.textContent = t("failed");
    throw error;
  }
}

async function guarded(picture, work) {
  try {
    await work();
  } catch (error) {
    picture.meta.textContent = "";
    picture.meta.append(element("span", "problem", error.message));
  }
}

async function run() {
  if (pictures.length === 0) return say(t("noPictures"));
  const texts = $("texts")
    .value.split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  if (task() === "match" && texts.length === 0) return say(t("noTexts"));
  say("");
  $("run").disabled = true;
  const kind = task();
  const waiting = [...pictures];
  const worker = async () => {
    for (let picture = waiting.shift(); picture; picture = waiting.shift()) {
      await guarded(picture, () =>
        kind === "caption" ? captionOf(picture) : matchOf(picture, texts),
      );
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  $("run").disabled = false;
}

// ---- downloads ----

function download(name, type, text) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A cell that starts like a formula would be one in a spreadsheet.
const csvCell = (value) =>
  `"${String(value)
    .replace(/^[=+\-@\t\r]/, (c) =>
      typeof value === "string" && Number.isNaN(Number(value)) ? "'" + c : c,
    )
    .replaceAll('"', '""')}"`;

function csv() {
  const head = ["task", "picture", "text", "value", "ms"];
  return (
    [head, ...rows.map((row) => [row.task, row.name, row.text, row.value, row.ms])]
      .map((line) => line.map(csvCell).join(","))
      .join("\r\n") + "\r\n"
  );
}

// ---- ways in ----

async function fetchPicture(address) {
  try {
    const response = await fetch(address, { credentials: "omit", referrerPolicy: "no-referrer" });
    if (!response.ok) throw new Error(response.statusText);
    const blob = await response.blob();
    addPicture(
      new File(
        [blob],
        decodeURIComponent(new URL(address).pathname.split("/").pop()) || "picture",
        { type: blob.type },
      ),
    );
    $("url").value = "";
  } catch (error) {
    say(t("cannotFetch"));
  }
}

let camera = null;

async function cameraOn() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: true });
    $("video").srcObject = camera;
    await $("video").play();
    $("camera-box").hidden = false;
    $("shoot").focus();
  } catch (error) {
    say(t("noCamera"));
  }
}

function cameraOff() {
  camera?.getTracks().forEach((track) => track.stop());
  $("camera-box").hidden = true;
  $("camera").focus();
}

function shoot() {
  const canvas = element("canvas");
  canvas.width = $("video").videoWidth;
  canvas.height = $("video").videoHeight;
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  canvas.toBlob(
    (blob) => addPicture(new File([blob], `camera-${number + 1}.jpg`, { type: "image/jpeg" })),
    "image/jpeg",
    0.92,
  );
}

function listen() {
  $("files").addEventListener("change", () => {
    for (const file of $("files").files) addPicture(file);
    $("files").value = "";
  });
  document.addEventListener("paste", (event) => {
    for (const file of event.clipboardData.files) addPicture(file);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    for (const file of event.dataTransfer.files) addPicture(file);
  });
  $("url-form").addEventListener("submit", (event) => {
    event.preventDefault();
    fetchPicture($("url").value);
  });
  $("camera").addEventListener("click", cameraOn);
  $("camera-off").addEventListener("click", cameraOff);
  $("shoot").addEventListener("click", shoot);
  for (const radio of document.querySelectorAll("input[name=task]"))
    radio.addEventListener("change", showTask);
  $("run").addEventListener("click", run);
  $("match-form").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", () => {
    while (pictures.length) pictures[0].remove();
  });
  $("csv").addEventListener("click", () => download("blip.csv", "text/csv", csv()));
  $("json").addEventListener("click", () =>
    download("blip.json", "application/json", JSON.stringify(rows, null, 1) + "\n"),
  );
  $("open-settings").addEventListener("click", () => $("settings").showModal());
  $("settings").addEventListener("close", () => {
    for (const name of SETTINGS) localStorage.setItem(name, setting(name));
    loadModels();
    history.load();
  });
  $("language").addEventListener("click", () => {
    switchLanguage();
    theme(document.documentElement.dataset.theme);
    showTable();
    showModels();
    history.showNote();
  });
  $("theme").addEventListener("click", () =>
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
}

applyLanguage();
loadSettings();
theme(
  localStorage.getItem("theme") ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
);
listen();
showTask();
await Promise.all([loadModels(), loadRanges()]);
await history.start(addPicture);
