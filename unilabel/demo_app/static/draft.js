// Keeps the edits in the browser and says above all tabs how they stand: unilabelDraft(host,
// trigger) -> {update(state)}. The form of state is that of draft_payload.
function unilabelDraft(host, trigger) {
  "use strict";
  const { make, plural } = unilabelDom;
  const KEPT = 3; // drafts of a model
  const own = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
  const strip = make("div", { class: "ul-draft", role: "status" });
  host.replaceChildren(strip);
  let state = null, offered = null, answered = false, storable = true;

  const place = () => `unilabel-drafts:${state.model}`;

  function drafts() {
    try {
      const found = JSON.parse(localStorage.getItem(place()) || "[]");
      return Array.isArray(found) ? found : [];
    } catch { return []; }
  }

  function keep(list) {
    try {
      if (list.length) localStorage.setItem(place(), JSON.stringify(list.slice(0, KEPT)));
      else localStorage.removeItem(place());
    } catch { storable = false; } // full, or forbidden
  }

  function store() {
    const others = drafts().filter((draft) => draft.id !== own);
    keep(state.changes ? [{ id: own, time: Date.now(), edits: state.edits, changes: state.changes },
      ...others] : others);
  }

  function answer(use) {
    const draft = offered;
    offered = null;
    answered = true;
    keep(drafts().filter((other) => other.id !== draft.id));
    if (use) trigger("resume", { op: "load", value: draft.changes });
    draw();
  }

  function review(id) {
    const tab = document.querySelector('[role="tab"][data-tab-id="review"]');
    if (tab && tab.getAttribute("aria-selected") !== "true") tab.click();
    document.dispatchEvent(new CustomEvent("unilabel-card", { detail: { id } }));
  }

  function draw() {
    const parts = [];
    if (offered) {
      const when = new Date(offered.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      parts.push(make("div", { class: "ul-note ul-info ul-offer" },
        `Continue with ${plural(offered.edits, "edit")} of ${when}? `,
        make("button", { type: "button", class: "ul-continue", onclick: () => answer(true) }, "Continue"), " ",
        make("button", { type: "button", class: "ul-forget", onclick: () => answer(false) }, "Forget them")));
    }
    if (state.edits) {
      const where = state.stored ? `kept on the server (${state.stored})`
        : storable ? "kept in this browser" : "not kept anywhere: save them as a file";
      parts.push(make("div", { class: "ul-stand" }, `${plural(state.edits, "edit")} of the label space, `
        + `${state.saved ? "saved as a file" : where}.`));
    }
    if (state.problems.length) {
      const [problem] = state.problems;
      parts.push(make("div", { class: "ul-note ul-error ul-trouble" },
        `Draft not in use in full: ${plural(state.problems.length, "problem")}. ${problem.text} `,
        make("button", { type: "button", class: "ul-show", onclick: () => review(problem.id) },
          "Show it")));
    }
    strip.replaceChildren(...parts);
  }

  function leaving(event) { event.preventDefault(); }

  function update(next) {
    const fresh = state === null;
    state = next;
    if (fresh && !state.edits) offered = drafts()[0] || null;
    if (!fresh || state.edits) store();
    (state.edits && !state.saved ? addEventListener : removeEventListener)("beforeunload", leaving);
    draw();
    host.dataset.edits = String(state.edits);
  }

  return { update };
}
