// A row of the list of runs, and its parts that other views show too: state, progress and what can be done.

import { ENDED, file, post, remove } from "../common/api.js";
import { announce, button, confirmed, exchange, h, prose } from "../common/dom.js";
import { ago, done, isUnreadable, knownClasses, named, percent, recipe, sentence, standing } from "../common/format.js";
import { go } from "../main.js";

export function badge(status) {
  return h("span", { class: `badge ${status}` }, status);
}

/** Create a progress bar. */
export function progress() {
  const bar = h("progress", { max: 1, value: 0 });
  bar.set = (share, text) => {
    bar.value = share;
    bar.setAttribute("aria-label", text);
  };
  return bar;
}

/** Create the buttons for a run in its status; `changed` is called with the new record, `deleted` without one. */
export function controls(job, changed, deleted) {
  const control = (verb, text, attributes = {}) => button(text, async () => changed(await post(`jobs/${job.id}/${verb}`)), attributes);
  const again = button("Duplicate", async () => go(`/runs/${(await post(`jobs/${job.id}/retry`)).id}`), { title: "Start a new run with the same configuration" });
  const erase = button("Delete", async () => {
    if (!(await confirmed(`Delete ${named(job)}?`, "Its record, checkpoints and files are deleted. This cannot be undone.", "Delete run"))) return;
    await remove(`jobs/${job.id}`);
    announce(`${named(job)} is deleted.`);
    deleted();
  });
  if (isUnreadable(job)) return [ENDED.includes(job.status) ? erase : control("cancel", "Cancel")];
  switch (job.status) {
    case "queued":
      return [control("front", "Move to front", { title: "Run this job next, regardless of its priority" }), control("cancel", "Cancel")];
    case "running":
      return [control("cancel", "Cancel")];
    case "failed":
    case "cancelled":
      return [control("resume", "Resume", { class: "primary" }), again, erase];
    case "succeeded":
      return [again, erase];
  }
  return [];
}

/** Create the row of a run. `on` has the functions `pick(id, isChosen)`, `gone(id)`, `tag(text)` and `edit(job, row)`. */
export function entry(job, isChosen, on) {
  const box = h("input", { type: "checkbox", checked: isChosen, "aria-label": `Select ${named(job)}`, onchange: () => on.pick(job.id, box.checked) });
  const link = h("a", { href: `#/runs/${job.id}` });
  const state = h("span", { class: "state" });
  const tags = h("span", { class: "labels" });
  const line = h("p", { class: "line" });
  const bar = progress();
  const figures = h("span", { class: "hint" });
  const actions = h("div", { class: "actions" });
  const picture = h("img", { class: "thumb ink", alt: "", width: 140, height: 56, hidden: true });
  const row = h("li", { class: "job run" }, box, h("div", { class: "pictured" }, picture),
    h("div", { class: "what" }, h("h2", {}, link, state, tags), line, bar), actions);
  let current = job, shown = "", labelled = "";
  const edit = button("Edit", () => on.edit(current, row), { title: "Change the name, notes and tags, or archive" });
  row.box = box;
  row.update = (now) => {
    current = now;
    row.dataset.status = now.status;
    const labels = JSON.stringify([now.name, now.tags, now.archived]);
    if (labelled !== labels) {
      link.textContent = named(now);
      box.setAttribute("aria-label", `Select ${named(now)}`);
      edit.setAttribute("aria-label", `Edit ${named(now)}`);
      tags.replaceChildren(...(now.tags ?? []).map((tag) => button(tag, () => on.tag(tag), { class: "tag", title: `Show runs tagged ${tag}` })),
        ...(now.archived ? [h("span", { class: "hint" }, "archived")] : []));
      labelled = labels;
    }
    link.title = now.notes ?? "";
    if (state.dataset.status !== now.status) state.replaceChildren(badge(now.status));
    state.dataset.status = now.status;
    const wrong = now.trouble ?? now.error, unreadable = isUnreadable(now);
    const known = [!unreadable && recipe(now.config), last(now), now.created_at && ago(now.created_at)];
    figures.textContent = known.filter(Boolean).join(" · ");
    line.replaceChildren(...(wrong ? prose(sentence(wrong)) : [standing(now)]), " ", figures);
    bar.set(done(now), `${named(now)}: progress`);
    bar.hidden = unreadable || ENDED.includes(now.status);
    const offered = `${now.status} ${unreadable}`, labelling = unreadable ? [] : [edit]; // its labels are not known here
    if (shown !== offered) exchange(actions, ...controls(now, row.update, () => on.gone(now.id)), ...labelling);
    shown = offered;
    show(picture, now);
  };
  row.update(job);
  return row;
}

/** The last words of a row: how many of the digits are recognised. */
function last(job) {
  const metrics = job.epochs.at(-1)?.metrics;
  const noun = knownClasses(job.config.dataset) ? "digits" : "images";
  return metrics?.label_accuracy === undefined ? null : `${percent(metrics.label_accuracy)} of its ${noun} recognised`;
}

// ----------------------------------------------------------------------------
// Pictures are fetched when their row comes near the screen, since an <img> cannot send the key.

const NEAR = "200px";
const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) if (isIntersecting) watcher.unobserve(target), load(target.firstChild);
}, { rootMargin: NEAR });

function show(picture, job) {
  const epoch = job.epochs.at(-1)?.epoch;
  const address = epoch ? `jobs/${job.id}/epochs/${epoch}/thumbnail.png` : "";
  if (!address || picture.dataset.address === address) return;
  picture.dataset.address = address;
  requestAnimationFrame(() => picture.parentElement && watcher.observe(picture.parentElement));
}

async function load(picture) {
  const address = picture.dataset.address;
  try {
    const { blob } = await file(address);
    if (picture.dataset.address !== address) return;
    const url = URL.createObjectURL(blob);
    picture.src = url;
    picture.hidden = false;
    await picture.decode();
    URL.revokeObjectURL(url);
  } catch {
    picture.hidden = true; // its checkpoint was deleted, or cannot be read: the run's page says so
  }
}
