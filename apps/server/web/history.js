// The list of earlier results, kept by the server.
import * as api from "./api.js";
import { label, t } from "./i18n.js";

const $ = (id) => document.getElementById(id);
const PAGE = 12;
const LONGEST_SUMMARY = 16000; // characters; the server takes a few more
const MEGABYTE = 1 << 20;

let openPicture = () => {};
let kept = false;
let next = null; // where the list goes on
let lists = 0; // begun
let about = null; // what the server says of the history, or the error that came instead
const files = new Map(); // pictures by entry: the server lets nobody else keep copies

function problem(text) {
  $("history-problem").textContent = text;
}

// Runs what may fail, and says how it did.
async function attempt(work) {
  try {
    problem("");
    await work();
  } catch (error) {
    problem(error.message);
  }
}

export function showNote() {
  const note = $("history-note");
  if (about instanceof Error) {
    note.textContent =
      about.status === 404
        ? t("historyOff")
        : about.status === 401
          ? t("historyKey")
          : about.message;
  } else if (about) {
    const { entries, bytes, max_entries, max_bytes } = about.usage;
    const megabytes = (value) => (value / MEGABYTE).toFixed(value < 10 * MEGABYTE ? 1 : 0);
    note.textContent =
      t(about.shared ? "keptShared" : "keptOwn", location.host) +
      " " +
      t("keptUsage", entries, max_entries, megabytes(bytes), megabytes(max_bytes));
  }
}

// Saves of one picture come one after the other: a further question changes the entry that the
// first one made, so that has to be there.
export function save(picture, task, summary, result) {
  if (!kept) return;
  const before = picture.saving ?? Promise.resolve();
  picture.saving = before.then(() => attempt(() => store(picture, task, summary, result)));
  return picture.saving;
}

async function store(picture, task, summary, result) {
  const value = JSON.stringify(result);
  const short = [...summary].slice(0, LONGEST_SUMMARY).join("");
  picture.saved ??= {};
  let entry;
  try {
    if (task === "ask" && picture.saved.ask) {
      entry = await api.put("v1/history/" + picture.saved.ask, { summary: short, result: value });
    } else {
      entry = await api.post("v1/history", {
        task,
        name: picture.name,
        summary: short,
        result: value,
        image: picture.file,
      });
      picture.saved[task] = entry.id;
    }
  } catch (error) {
    // Where somebody deleted it, the next one is a new entry.
    if (error.status === 404) delete picture.saved[task];
    throw new api.ApiError(t("notKept", error.message));
  }
  await page(0);
  if (entry.dropped) problem(t("madeRoom", entry.dropped));
}

function button(key, name, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = t(key);
  element.dataset.i18n = key;
  label(element, key, name);
  element.addEventListener("click", () => attempt(action));
  return element;
}

function line(className, ...parts) {
  const element = document.createElement("p");
  element.className = className;
  element.append(...parts);
  return element;
}

// Text whose direction does not reach into its neighbours.
function apart(text) {
  const element = document.createElement("bdi");
  element.textContent = text;
  return element;
}

function show(entry) {
  const item = document.createElement("li");
  item.className = "card";
  const image = document.createElement("img");
  image.alt = entry.name;
  const path = "v1/history/" + entry.id;
  if (!files.has(entry.id)) files.set(entry.id, api.getBlob(path + "/image"));
  const file = files.get(entry.id);
  file
    .then((blob) => {
      image.src = URL.createObjectURL(blob);
      image.onload = () => URL.revokeObjectURL(image.src);
    })
    .catch(() => files.delete(entry.id));
  const kind = document.createElement("span");
  kind.dataset.i18n = entry.task;
  kind.textContent = t(entry.task);
  const date = new Date(entry.created);
  const created = Number.isNaN(date.getTime())
    ? entry.created
    : date.toLocaleString(document.documentElement.lang);
  const tools = document.createElement("div");
  tools.className = "row";
  tools.append(
    button("open", entry.name, async () =>
      openPicture(new File([await file], entry.name, { type: (await file).type })),
    ),
    button("delete", entry.name, async () => {
      await api.remove(path);
      files.delete(entry.id);
      item.remove();
      $("search").focus();
      about = await api.getJson("v1/history?limit=1");
      showNote();
    }),
  );
  item.append(
    image,
    line("text", entry.summary),
    line("meta", kind, " · ", apart(entry.name), " · ", apart(created)),
  );
  if (entry.error) item.append(line("problem", t("notReadable", entry.error)));
  item.append(tools);
  $("entries").append(item);
}

async function page(before) {
  const list = before ? lists : ++lists;
  const query = new URLSearchParams({ query: $("search").value, limit: PAGE, before });
  const answer = await api.getJson("v1/history?" + query);
  if (list !== lists) return; // a newer one shows what has come since
  about = answer;
  showNote();
  if (!before) $("entries").replaceChildren();
  for (const entry of answer.entries) show(entry);
  next = answer.next;
  $("more").hidden = next === null;
}

// Again from the start, say with another key.
export async function load() {
  files.clear();
  problem("");
  try {
    await page(0);
    kept = true;
  } catch (error) {
    kept = false;
    about = error;
    showNote();
    $("entries").replaceChildren();
    $("more").hidden = true;
  }
  $("search-form").hidden = !kept;
}

export async function start(open) {
  openPicture = open;
  let typing = 0;
  const search = () => attempt(() => page(0));
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(search, 200);
  });
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("more").addEventListener("click", () => attempt(() => page(next)));
  $("clear-history").addEventListener("click", () =>
    attempt(async () => {
      if (!confirm(t("sure"))) return;
      await api.remove("v1/history");
      await load();
    }),
  );
  await load();
}
