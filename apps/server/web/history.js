// The list of earlier results, kept by the server.
import * as api from "./api.js";
import { label, t } from "./i18n.js";

const $ = (id) => document.getElementById(id);
let kept = false;
let last = 0;

export async function save(picture, task, summary, result) {
  if (!kept) return;
  const value = JSON.stringify(result);
  picture.saved ??= {};
  if (task === "ask" && picture.saved.ask) {
    await api.put("v1/history/" + picture.saved.ask, { summary, result: value });
  } else {
    const entry = await api.post("v1/history", { task, name: picture.name, summary, result: value, image: picture.file });
    picture.saved[task] = entry.id;
  }
  await load();
}

function button(key, name, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = t(key);
  element.dataset.i18n = key;
  label(element, key, name);
  element.addEventListener("click", action);
  return element;
}

function show(entry, open) {
  const item = document.createElement("li");
  item.className = "card";
  const image = document.createElement("img");
  image.alt = entry.name;
  const path = "v1/history/" + entry.id;
  const file = api.getBlob(path + "/image");
  file.then((blob) => { image.src = URL.createObjectURL(blob); image.onload = () => URL.revokeObjectURL(image.src); }).catch(() => {});
  const text = document.createElement("p");
  text.className = "text";
  text.textContent = entry.summary;
  const meta = document.createElement("p");
  meta.className = "meta";
  const kind = document.createElement("span");
  kind.dataset.i18n = entry.task;
  kind.textContent = t(entry.task);
  meta.append(kind, " · ", entry.name, " · ", new Date(entry.created).toLocaleString(document.documentElement.lang));
  const tools = document.createElement("div");
  tools.className = "row";
  tools.append(
    button("open", entry.name, async () => open(new File([await file], entry.name, { type: (await file).type }))),
    button("delete", entry.name, async () => { await api.remove(path); item.remove(); $("search").focus(); }));
  item.append(image, text, meta, tools);
  $("entries").append(item);
}

let openPicture = () => {};

let lists = 0;  // begun

async function page(before) {
  const list = before ? lists : ++lists;
  const query = new URLSearchParams({ query: $("search").value, limit: 12, before });
  const { entries } = await api.getJson("v1/history?" + query);
  if (list !== lists) return;  // a newer one shows what has come since
  if (!before) $("entries").replaceChildren();
  for (const entry of entries) show(entry, openPicture);
  last = entries.length ? entries.at(-1).id : 0;
  $("more").hidden = entries.length < 12;
}

export async function load() {
  await page(0);
}

export async function start(open) {
  openPicture = open;
  try {
    await load();
    kept = true;
  } catch (error) {
    return;  // the server keeps none
  }
  $("history").hidden = false;
  let typing = 0;
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(load, 200); });
  $("search-form").addEventListener("submit", (event) => { event.preventDefault(); load(); });
  $("more").addEventListener("click", () => page(last));
  $("clear-history").addEventListener("click", async () => {
    if (!confirm(t("sure"))) return;
    await api.remove("v1/history");
    await load();
  });
}
