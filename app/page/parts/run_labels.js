// The dialog that changes the labels of a run.

import { patch } from "../common/api.js";
import { h } from "../common/dom.js";
import { named } from "../common/format.js";

/** Ask for new labels. Resolves to the new record, or to null if the dialog was cancelled. */
export function relabelled(job) {
  return new Promise((resolve) => {
    const field = (text, hint, input) => h("div", { class: "field" }, h("label", { for: input.id }, text), input, hint && h("p", { class: "hint" }, hint));
    const name = h("input", { type: "text", id: "label-name", maxlength: 100, value: job.name ?? "", autocomplete: "off", autofocus: true });
    const tags = h("input", { type: "text", id: "label-tags", value: (job.tags ?? []).join(", "), autocomplete: "off" });
    const notes = h("textarea", { id: "label-notes", rows: 5, maxlength: 2000 }, job.notes ?? "");
    const archived = h("input", { type: "checkbox", id: "label-archived", checked: Boolean(job.archived) });
    const wrong = h("p", { class: "wrong", role: "alert" });
    let saved = null;
    const save = async (event) => {
      if (event.submitter?.value !== "save") return;
      event.preventDefault();
      const words = tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
      try {
        saved = await patch(`jobs/${job.id}`, { name: name.value.trim() || null, tags: words, notes: notes.value, archived: archived.checked });
        dialog.close();
      } catch (problem) {
        wrong.textContent = problem.message;
      }
    };
    const dialog = h("dialog", { "aria-labelledby": "label-title", class: "labelling" }, h("form", { method: "dialog", onsubmit: save },
      h("h2", { id: "label-title" }, `Edit ${named(job)}`),
      field("Name", null, name), field("Tags", "Up to 10, separated by commas.", tags), field("Notes", null, notes),
      h("p", {}, archived, h("label", { for: "label-archived" }, "Archived: the list leaves it out")), wrong,
      h("p", { class: "actions" }, h("button", { value: "save", class: "primary" }, "Save"), h("button", { value: "no", formnovalidate: true }, "Cancel"))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(saved);
    }, { once: true });
    document.body.append(dialog);
    dialog.showModal();
  });
}
