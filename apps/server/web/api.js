// Requests to the server, with the API key where one is set.
export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function send(path, options = {}) {
  const key = localStorage.getItem("key");
  const headers = { ...options.headers, ...(key ? { Authorization: "Bearer " + key } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ title: response.statusText }));
  throw new ApiError(problem.detail || problem.title, response.status);
}

export function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined && one !== "") data.append(name, one);
  }
  return data;
}

export const getJson = async (path) => (await send(path)).json();
export const getBlob = async (path) => (await send(path)).blob();
export const post = async (path, fields) =>
  (await send(path, { method: "POST", body: form(fields) })).json();
export const put = async (path, value) =>
  (
    await send(path, {
      method: "PUT",
      body: JSON.stringify(value),
      headers: { "Content-Type": "application/json" },
    })
  ).json();
export const remove = (path) => send(path, { method: "DELETE" });

// Calls onEvent(name, data) for each server-sent event of the answer.
export async function stream(path, fields, onEvent) {
  const response = await send(path, { method: "POST", body: form({ ...fields, stream: "true" }) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = Object.fromEntries(
        block
          .split("\n")
          .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
      );
      onEvent(lines.event, JSON.parse(lines.data));
    }
  }
}
