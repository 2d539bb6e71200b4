// Sends a file that the user chose or dropped, with progress; packs a folder into one archive.

import { NEEDS_KEY, key, problemOf, wanted } from "./api.js";
import { tar } from "./tar.js";

export const MOST_FILES = 150_000; // as the service accepts; the browser keeps a reference to each
export const NO_FILE = "There is no file in it.";
const HIDDEN = /(^|\/)(\.[^/]*|__MACOSX|Thumbs\.db|desktop\.ini)(\/|$)/i;

/** The files of a file input with `webkitdirectory`: [path below the folder, File]. */
export function ofFolder(list) {
  const files = [...list].map((file) => [file.webkitRelativePath.split("/").slice(1).join("/"), file]);
  return { name: list[0]?.webkitRelativePath.split("/")[0] ?? "", files };
}

/**
 * What was dropped: { name, files }. The files of one folder are named below it, those of several with its name. A folder
 * below it without a file that is not hidden is among them as an empty Blob, whose path ends with "/".
 */
export async function ofDrop(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()); // before the first await: later the items are empty
  const files = [];
  const alone = entries.length === 1 && entries[0].isDirectory;
  for (const entry of entries) await collect(entry, alone ? "" : entry.name, files);
  return { name: entries[0]?.name ?? "", files };
}

async function collect(entry, path, files) {
  if (files.length > MOST_FILES) return;
  if (entry instanceof File) return files.push([path, entry]);
  if (!entry.isDirectory) return files.push([path, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
  const reader = entry.createReader(), before = files.length;
  for (;;) {
    const found = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // up to 100 at a time
    if (!found.length) break;
    for (const each of found) await collect(each, path ? `${path}/${each.name}` : each.name, files);
  }
  if (path && !files.slice(before).some(([each]) => !HIDDEN.test(each))) files.push([`${path}/`, new Blob()]);
}

/** The files among what was chosen or dropped, without folders. */
export function filesIn({ files }) {
  return files.filter(([path]) => !path.endsWith("/"));
}

/** Return one Blob to send: the only file as it is, or an archive of all without hidden ones. Throws a sentence as Error. */
export function packed({ files }) {
  const seen = files.filter(([path]) => !HIDDEN.test(path));
  const [first, ...others] = filesIn({ files: seen });
  if (!first) throw new Error(NO_FILE);
  if (seen.length > MOST_FILES) throw new Error(`It has more than ${MOST_FILES.toLocaleString("en")} files: pack it into a zip or tar archive, and choose that.`);
  if (!others.length && !first[0].includes("/")) return first[1];
  return tar(seen.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Send a Blob as the body; `progress(share)` is called with 0 to 1. Resolves to the JSON of the answer. */
export async function send(method, path, blob, headers, progress, signal) {
  for (;;) {
    const used = key.get();
    try {
      return await attempt(method, path, blob, headers, progress, signal);
    } catch (problem) {
      if (!NEEDS_KEY.includes(problem.code)) throw problem;
      if (key.get() === used && !(await wanted(problem.message))) throw problem;
    }
  }
}

/** One attempt. `fetch` reports no progress of what it sends. */
function attempt(method, path, blob, headers, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const answered = () => ({ status: request.status, json: JSON.parse(request.responseText || "{}") });
    request.open(method, path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (key.get()) request.setRequestHeader("Authorization", `Bearer ${key.get()}`);
    request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
    request.onerror = () => reject(problemOf(0, {}));
    request.onabort = () => reject(new DOMException("left", "AbortError"));
    request.onload = () => {
      try {
        const { status, json } = answered();
        if (status >= 200 && status < 300) resolve(json);
        else reject(problemOf(status, json));
      } catch {
        reject(problemOf(request.status, {}));
      }
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}
