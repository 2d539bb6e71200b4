// The first screen, and all runs: running and waiting ones first, or as they are searched, sorted and filtered.

import { get, keepUp, key, onlyLatest, patch, remove } from "../common/api.js";
import { announce, button, confirmed, h, showError, title } from "../common/dom.js";
import { sheet } from "../parts/canvas.js";
import { entry } from "../parts/run_row.js";
import { name, note } from "../main.js";
import { count, named } from "../common/format.js";

const PAGE = 10, MORE = 50, AT_ONCE = 100; // runs of the first page, of later ones, and of a request at most
const AGAIN = 2500, ALL_AGAIN = 10; // milliseconds until the first page is read again, and rounds until all rows are
const TYPED = 250; // milliseconds after the last key press
const FIRST = "31415926", SEED = 3; // a fixed seed: browsers keep the picture
const SETTLE = 150; // milliseconds after the last key press
const LATER = 5000; // milliseconds: a new generator's handwriting is measured first, which takes seconds
const WORDS = "A neural network that learned to write digits";
const SHOWN = { "": "all", queued: "queued", running: "running", succeeded: "succeeded", failed: "failed", cancelled: "cancelled", archived: "archived" };
const ORDERS = { "": "running first", newest: "newest first", name: "by name", epochs: "most epochs first", frechet: "best Fréchet distance first" };

export async function show(root, { query }, signal) {
  name("");
  const chosen = new Set((query.get("compare") ?? "").split(",").filter(Boolean));
  const rows = new Map(), deleted = new Set();
  let shown = [], next = null;
  const list = h("ol", { class: "jobs" });
  const older = button("Older runs", add, { hidden: true });
  const more = h("div", { class: "actions" }, older);
  const compare = h("a", { class: "button", id: "compare" });
  const change = button("Archive", () => archive()), erase = button("Delete", () => eraseAll());
  const both = h("span", { class: "actions", id: "selection" }, change, erase);
  const chip = h("span", {});
  const beginList = onlyLatest(signal);
  let awaited = 0; // lists that the user waits for: meanwhile it is not refreshed
  const tools = toolbar(query, () => choose());

  // The selection.

  const offer = () => {
    const ids = [...chosen];
    compare.textContent = ids.length > 1 ? "Compare selected runs" : "Select two runs to compare";
    if (ids.length > 1) compare.href = `#/compare?a=${ids[0]}&b=${ids[1]}${ids.length > 2 ? `&runs=${ids.join(",")}` : ""}`;
    else compare.removeAttribute("href");
    compare.classList.toggle("primary", ids.length > 1);
    both.hidden = ids.length === 0;
    change.textContent = tools.values().status === "archived" ? `Restore ${ids.length}` : `Archive ${ids.length}`;
    erase.textContent = `Delete ${ids.length}`;
    note({ compare: ids.join(",") });
  };
  const pick = (id, isChosen) => {
    if (isChosen) chosen.add(id);
    else chosen.delete(id);
    offer();
  };
  const each = async (action) => { // the first error is shown after all were tried
    const errors = [];
    let count = 0;
    for (const id of [...chosen]) {
      try {
        await action(id);
        count++;
        chosen.delete(id);
        if (rows.has(id)) rows.get(id).box.checked = false;
      } catch (error) {
        errors.push(error);
      }
    }
    await forUser((current) => reload(shown.length, current));
    offer();
    if (errors.length) showError(errors[0]);
    return count;
  };
  async function archive() {
    const archived = tools.values().status !== "archived";
    const changed = await each((id) => patch(`jobs/${id}`, { archived }));
    announce(`${count(changed, "run")} ${archived ? "archived" : "restored"}.`);
  }
  async function eraseAll() {
    const many = chosen.size === 1 ? "this run" : `these ${chosen.size} runs`;
    if (!(await confirmed(`Delete ${many}?`, "Records, checkpoints and files are deleted. This cannot be undone.", "Delete"))) return;
    announce(`${count(await each((id) => remove(`jobs/${id}`).then(() => deleted.add(id))), "run")} deleted.`);
  }

  // The list.

  const address = (limit) => {
    const { search, sort, status, tag } = tools.values();
    const filters = { search, tag, status: status === "archived" ? "" : status };
    const given = Object.entries(filters).filter(([, value]) => value).map(([key, value]) => `&${key}=${encodeURIComponent(value)}`);
    return `jobs?limit=${limit}&epochs=last&archived=${status === "archived"}&sort=${sort || "active"}${given.join("")}`;
  };
  const on = { pick, tag: (tag) => choose({ tag }), edit, gone: (id) => {
    chosen.delete(id);
    deleted.add(id);
    offer();
    draw(shown);
  } };
  function draw(jobs) {
    shown = jobs.filter(({ id }) => !deleted.has(id)); // a list that was requested before still has it
    const known = new Set(shown.map((job) => job.id));
    for (const [id, row] of rows) if (!known.has(id)) row.remove(), rows.delete(id);
    shown.forEach((job, at) => {
      if (!rows.has(job.id)) rows.set(job.id, entry(job, chosen.has(job.id), on));
      const row = rows.get(job.id);
      row.update(job);
      if (list.children[at] === row) return;
      const focused = row.contains(document.activeElement) ? document.activeElement : null;
      list.insertBefore(row, list.children[at] ?? null);
      focused?.focus({ preventScroll: true }); // a row that moves loses the focus
    });
    compare.hidden = !shown.length && !tools.isFiltered(); // the fields stay: archived runs are reached there
    if (!shown.length) list.replaceChildren(nothing(tools.isFiltered()));
    else list.querySelector(".nothing")?.remove();
    older.textContent = tools.values().sort ? "More runs" : "Older runs";
    older.hidden = !next;
  }
  /** Request a list that the user waits for. Resolves to whether it was shown: another action of the user may replace it. */
  async function forUser(request) {
    const current = beginList();
    awaited++;
    try {
      await request(current);
    } catch (error) {
      if (!current.aborted) throw error;
    } finally {
      awaited--;
    }
    return !current.aborted;
  }
  async function read(wanted, current) {
    const jobs = [];
    let following = address(Math.min(wanted, AT_ONCE));
    do {
      const answer = await get(following, current);
      jobs.push(...answer.jobs);
      following = answer.next?.replace(/limit=\d+/, `limit=${Math.max(1, Math.min(AT_ONCE, wanted - jobs.length))}`) ?? null;
    } while (following && jobs.length < wanted);
    return [jobs, following];
  }
  async function reload(wanted, current) {
    const [jobs, following] = await read(Math.max(wanted, PAGE), current);
    next = following;
    draw(jobs);
  }
  async function add() {
    const before = shown.length;
    const isShown = await forUser(async (current) => {
      const answer = await get(next.replace(/limit=\d+/, `limit=${MORE}`), current);
      next = answer.next;
      const known = new Set(shown.map((job) => job.id));
      draw([...shown, ...answer.jobs.filter((job) => !known.has(job.id))]);
    });
    if (!isShown) return;
    list.children[before]?.querySelector("a").focus({ preventScroll: true });
    remember();
  }
  async function choose(changes = {}) {
    tools.set(changes);
    const values = tools.values();
    note(values);
    chip.replaceChildren(...(values.tag ? [button(`Tag: ${values.tag} ×`, () => choose({ tag: "" }), { class: "tag", "aria-label": `Show runs without the tag ${values.tag} too` })] : []));
    older.hidden = true; // it would continue the list before
    if (!(await forUser((current) => reload(PAGE, current)))) return;
    announce(shown.length ? `${next ? "More than " : ""}${count(shown.length, "run")} found.` : "No run found.");
  }
  async function edit(job, row) {
    const { relabelled } = await import("../parts/run_labels.js");
    const changed = await relabelled(job);
    if (!changed) return;
    row.update(changed);
    announce(`${named(changed)} is saved.`);
    await forUser((current) => reload(shown.length, current));
  }

  // The position in the list belongs to the entry of the browser's history, so that Back finds it.

  const remember = () => history.replaceState({ ...history.state, runs: { count: shown.length, y: scrollY } }, "");
  const kept = history.state?.runs;
  offer();
  if (tools.values().tag) chip.append(button(`Tag: ${tools.values().tag} ×`, () => choose({ tag: "" }), { class: "tag" }));
  await reload(kept?.count ?? PAGE, beginList());
  root.append( // not before: the first screen is one row tall if there are runs, and nothing moves later
    firstScreen(Boolean(tools.isFiltered() || shown.length), signal),
    title("Runs", compare, both),
    h("div", { class: "tools" }, tools.element, chip),
    list,
    more,
  );
  if (kept) scrollTo(0, kept.y);
  let later;
  addEventListener("scroll", () => {
    clearTimeout(later);
    later = setTimeout(() => signal.aborted || remember(), 100);
  }, { passive: true, signal });
  list.addEventListener("click", (event) => event.target.closest("a") && remember(), { capture: true, signal });
  let round = 0;
  keepUp(refresh, AGAIN, signal).catch(showError);

  async function refresh() {
    if (awaited) return;
    const current = beginList();
    try {
      await (++round % ALL_AGAIN === 0 ? reload(shown.length, current) : freshen(current));
    } catch (error) {
      if (!current.aborted) throw error;
    }
  }
  async function freshen(current) {
    const answer = await get(address(PAGE), current);
    if (shown.length <= PAGE) next = answer.next;
    const fresh = new Set(answer.jobs.map((job) => job.id));
    const others = answer.next ? shown.filter((job) => !fresh.has(job.id)) : [];
    draw(shown.length <= PAGE ? answer.jobs : [...answer.jobs, ...others]);
  }
}

/** Create the fields that choose what is listed. `values` returns them, as in the URL; `change` is called after one changes. */
function toolbar(query, change) {
  let tag = query.get("tag") ?? "", timer;
  const option = ([value, text]) => h("option", { value }, text);
  const search = h("input", { type: "search", id: "search", placeholder: "Name, tag or id", maxlength: 200, value: query.get("search") ?? "", autocomplete: "off", oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(() => change().catch(showError), TYPED);
  } });
  const select = (id, options) => {
    const made = h("select", { id, onchange: () => change().catch(showError) }, Object.entries(options).map(option));
    made.value = query.get(id) in options ? query.get(id) : "";
    return made;
  };
  const sort = select("sort", ORDERS), status = select("status", SHOWN);
  const field = (text, input) => h("span", { class: "filter" }, h("label", { for: input.id }, text), input);
  const values = () => ({ search: search.value.trim(), sort: sort.value, status: status.value, tag });
  return {
    element: h("div", { class: "actions", role: "search" }, field("Search", search), field("Sort", sort), field("Show", status)),
    values,
    isFiltered: () => Boolean(values().search || values().status || tag),
    set: (changes) => {
      tag = changes.tag ?? tag;
    },
  };
}

function nothing(isFiltered) {
  const text = isFiltered ? "No run matches." : "No runs yet. Train starts one: it takes minutes, and you can watch it learn.";
  return h("li", { class: "nothing" }, h("p", {}, text));
}

const PATIENCE = 1000; // milliseconds: the styles of a new generator's digits are measured first, which takes seconds

/**
 * Draw a number in one style of writing, as `sheet.draw` does. If that takes long, its digits in one latent vector are
 * drawn first, and `waits` is called. They stay if the number cannot be drawn yet.
 */
export async function drawNumber(picture, path, text, signal, waits = () => {}) {
  const begin = onlyLatest(signal), draft = begin();
  setTimeout(() => {
    if (!draft.aborted && !key.isWithheld()) picture.draw(`${path}&style=latent`, text, draft).then(waits).catch(() => {});
  }, PATIENCE);
  const headers = await picture.draw(path, text, signal);
  begin();
  return headers;
}

/** Create the first screen; `isShort` makes it one row tall. */
function firstScreen(isShort, signal) {
  const picture = sheet(), begin = onlyLatest(signal);
  const trouble = h("p", { class: "wrong", id: "written-wrong" });
  const number = h("input", { type: "text", id: "written", inputmode: "numeric", maxlength: 40, autocomplete: "off", value: FIRST, "aria-label": "Type a number", "aria-describedby": "written-wrong", oninput: () => write() });
  const draw = h("a", { class: "button primary", href: "#/draw" }, "Draw"), train = h("a", { class: "button", href: "#/new" }, "Train");
  const element = h("section", { class: `home ${isShort ? "short" : ""}`, "aria-label": "Handwritten numbers" },
    h("h1", { class: "headline" }, WORDS),
    h("div", { class: "try" }, !isShort && h("p", {}, "Type a number. The network writes it."), number, trouble),
    h("div", { class: "written" }, picture),
    h("div", { class: "actions" }, draw, train));
  start().catch(fail);
  return element;

  async function start() {
    const { serving } = await get("serving", signal);
    if (serving !== null) return write(0);
    number.disabled = true;
    draw.classList.remove("primary");
    train.classList.add("primary");
    trouble.textContent = "No network has learned to write yet.";
  }

  /** Write the number, after a short delay; a later call replaces an earlier one. */
  async function write(delay = SETTLE) {
    const current = begin();
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (current.aborted) return;
    const digits = number.value.replaceAll(/\s/g, "");
    if (!/^[0-9]{0,40}$/.test(digits)) return fail(new Error("Digits only: 0 to 9."));
    trouble.textContent = "";
    number.setAttribute("aria-invalid", "false");
    if (!digits) return;
    const path = `numbers/${digits}?seed=${SEED}&scale=4`, text = `${digits}, written by the network`;
    try {
      await drawNumber(picture, path, text, current);
      if (delay) announce(`${digits} is written.`);
    } catch (problem) {
      if (current.aborted) return;
      if (problem.code !== "style-bank-not-ready") return fail(problem);
      setTimeout(() => !current.aborted && !key.isWithheld() && write(0), LATER);
    }
  }

  function fail(problem) {
    if (problem.name === "AbortError") return;
    trouble.textContent = problem.message;
    number.setAttribute("aria-invalid", "true");
  }
}
