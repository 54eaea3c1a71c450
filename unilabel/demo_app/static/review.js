// Edits of a label space: unilabelReview(host, trigger, server) -> {update(state)}. Every edit goes
// to the server as trigger("edit", {...}); the server answers with the whole state (see
// review_payload), of which only the cards that changed are drawn again.
function unilabelReview(host, trigger, server) {
  "use strict";
  const { make, dot, words, visible, typing, settle } = unilabelDom;
  const PAGE = 30;
  let state = null, shown = PAGE, first = new Map(), wanted = null;
  const cards = new Map(), proofs = new Map(); // label -> card; label -> dataset whose photos show

  const hex = (c) => "#" + c.map((v) => v.toString(16).padStart(2, "0")).join("");
  const edit = (change) => trigger("edit", change);
  const again = () => { shown = PAGE; list(); };

  const search = make("input", { type: "search", placeholder: "Search a label or class",
    "aria-label": "Search a label or class", oninput: again });
  const order = make("select", { "aria-label": "Order", onchange: again },
    make("option", { value: "suspicious" }, "suspicious first"),
    make("option", { value: "name" }, "by name"),
    make("option", { value: "id" }, "by number"));
  const open = make("input", { type: "checkbox", onchange: again });
  const button = (name, op, keys) => make("button", { type: "button", class: `ul-${op}`,
    title: keys || null, onclick: () => edit({ op }) }, name);
  const undo = button("Undo", "undo", "Ctrl+Z"), redo = button("Redo", "redo", "Ctrl+Shift+Z");
  const reset = button("Reset", "reset");
  const status = make("span", { class: "ul-quiet ul-status", role: "status" });
  const message = make("div", { class: "ul-notes", "aria-live": "assertive" });
  const body = make("div", { class: "ul-cards" });
  const none = make("p", { class: "ul-quiet" }, "No label fits.");
  const more = make("button", { type: "button", onclick: () => { shown += PAGE; list(); } },
    "Show more");
  host.replaceChildren(make("div", { class: "ul-review" },
    make("div", { class: "ul-viewbar" }, undo, redo, reset, status),
    message,
    make("div", { class: "ul-viewbar" }, search, order,
      make("label", {}, open, "not checked yet only")),
    body, more));

  // ---- one card ---------------------------------------------------------------------------------
  function fill(select, dataset, current) {
    if (select.dataset.filled) return;
    select.dataset.filled = "1";
    const options = state.datasets[dataset].classes.map((name, id) =>
      make("option", { value: String(id), selected: id === current }, name));
    select.replaceChildren(make("option", { value: "-1", selected: current < 0 }, "– none –"), ...options);
  }

  function weight(link) {
    if (!link) return "";
    if (link.source === "human") return "by hand";
    return `${link.source === "text" ? "text " : ""}${link.weight.toFixed(2)}`;
  }

  async function prove(label, dataset, place) {
    const link = label.links[dataset], set = state.datasets[dataset];
    place.replaceChildren(make("p", { class: "ul-quiet" }, "Looking for photos…"));
    const answer = await server.link_evidence([set.name, link.class, label.id]);
    place.replaceChildren(make("h4", {}, `${set.classes[link.class]} of ${set.title} – ${label.name}`),
      unilabelEvidence(answer));
  }

  function cell(label, dataset, place) {
    const link = label.links[dataset], set = state.datasets[dataset], current = link ? link.class : -1;
    const select = make("select", { "data-dataset": set.name,
      "aria-label": `${label.name}: class of ${set.title}`,
      onchange: () => edit({ op: "link", id: label.id, dataset: set.name, value: Number(select.value) }) },
    make("option", { value: String(current), selected: true }, link ? set.classes[current] : "– none –"));
    for (const event of ["pointerdown", "focus", "mousedown"]) {
      select.addEventListener(event, () => fill(select, dataset, current));
    }
    const known = weight(link);
    const why = link && server ? make("button", { type: "button", class: "ul-why",
      "data-dataset": set.name, "aria-expanded": String(proofs.get(label.id) === dataset),
      "aria-label": `${known}, photos for ${label.name}: ${set.classes[current]} of ${set.title}`,
      onclick: () => show(label.id, proofs.get(label.id) === dataset ? null : dataset) },
    known, make("u", {}, "photos")) : make("span", { class: "ul-quiet" }, known);
    if (link && proofs.get(label.id) === dataset) prove(label, dataset, place);
    return make("div", { class: `ul-linkcell${link && link.reason ? " ul-suspect" : ""}` },
      make("div", { class: "ul-linkhead" }, make("span", { title: set.title }, dot(set.color),
        set.title.length > 20 ? set.name : set.title), why),
      select,
      link && link.reason ? make("span", { class: "ul-reason" }, link.reason) : null);
  }

  function card(label, problems) {
    const picker = make("input", { type: "color", value: hex(label.color),
      "aria-label": `Colour of ${label.name}`,
      onchange: () => edit({ op: "colour", id: label.id, value: picker.value }) });
    const name = make("input", { type: "text", value: label.name, maxlength: "80",
      "aria-label": `Name of unified label ${label.id}`,
      onchange: () => edit({ op: "name", id: label.id, value: name.value }),
      onkeydown: (event) => { if (event.key === "Enter") name.blur(); } });
    const checked = make("input", { type: "checkbox", checked: label.checked,
      "aria-label": `${label.name} is checked`,
      onchange: () => edit({ op: "check", id: label.id, value: checked.checked }) });
    const place = make("div", { class: "ul-place" });
    const links = label.links.map((_, dataset) => cell(label, dataset, place));
    return make("article", { tabindex: "-1", "data-id": label.id, "aria-label": label.name,
      class: `ul-card${label.checked ? " ul-checked" : ""}${problems.length ? " ul-bad" : ""}` },
    make("div", { class: "ul-cardhead" }, picker, name, make("label", {}, checked, "checked")),
    ...problems.map((problem) => make("p", { class: "ul-problem" }, problem.text, " ",
      make("button", { type: "button", class: "ul-back", onclick: () => edit({ op: "give_back",
        dataset: problem.dataset, value: problem.class }) },
      `Give ${problem.class} back to ${label.name}`))),
    make("div", { class: "ul-links" }, ...links), place);
  }

  function show(id, dataset) {
    if (dataset === null) proofs.delete(id);
    else proofs.set(id, dataset);
    list();
  }

  // ---- all cards --------------------------------------------------------------------------------
  const doubt = (label) => label.links.reduce((most, l) => Math.max(most, l ? l.score : 0), 0);

  function fitting() {
    const wordsOf = words(search.value);
    const fits = state.labels.filter((label) => {
      if (open.checked && label.checked) return false;
      const text = [label.name, ...label.links.map((link, d) =>
        (link ? state.datasets[d].classes[link.class] : ""))].join(" ").toLowerCase();
      return wordsOf.every((word) => text.includes(word));
    });
    if (order.value === "name") fits.sort((a, b) => a.name.localeCompare(b.name));
    // the order of doubt is that of the model's links: cards stay in place while they are edited
    if (order.value === "suspicious") fits.sort((a, b) => first.get(b.id) - first.get(a.id) || a.id - b.id);
    return fits;
  }

  function list() {
    const fits = fitting();
    const page = fits.slice(0, shown).map((label) => {
      const problems = state.problems.filter((problem) => problem.id === label.id);
      const key = JSON.stringify([label, problems, proofs.has(label.id) ? proofs.get(label.id) : -1]);
      const old = cards.get(label.id);
      if (old && old.key === key) return old.node;
      const node = card(label, problems), spot = old && focusIn(old.node);
      if (old && old.node.isConnected) old.node.replaceWith(node);
      cards.set(label.id, { key, node });
      if (spot) refocus(node, spot);
      return node;
    });
    settle(body, page.length ? page : [none]);
    more.hidden = fits.length <= shown;
    more.textContent = `Show more (${fits.length - shown} left)`;
  }

  const ROLES = "input, select, button";
  function focusIn(node) {
    const active = document.activeElement;
    return active && node.contains(active) ? [active.tagName, active.type, active.dataset.dataset] : null;
  }

  function refocus(node, [tag, type, dataset]) {
    const again = [...node.querySelectorAll(ROLES)].find((other) =>
      other.tagName === tag && other.type === type && other.dataset.dataset === dataset);
    (again || node).focus({ preventScroll: true });
  }

  // Bring the card of a label into view, whatever hides it now.
  function reveal(id) {
    wanted = null;
    if (!fitting().some((label) => label.id === id)) { search.value = ""; open.checked = false; }
    shown = Math.max(shown, fitting().findIndex((label) => label.id === id) + 1);
    list();
    const { node } = cards.get(id);
    node.scrollIntoView({ block: "center" });
    node.focus({ preventScroll: true });
  }

  document.addEventListener("unilabel-card", (event) => {
    wanted = event.detail.id;
    if (state && visible(host)) reveal(wanted); // else once the tab has answered
  });

  document.addEventListener("keydown", (event) => {
    if (!visible(host) || !state) return;
    const inside = event.target === document.body || host.contains(event.target);
    if (event.key === "Escape" && inside && proofs.size) { proofs.clear(); list(); }
    const letter = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || typing(event.target)) return;
    const redoing = letter === "y" || (letter === "z" && event.shiftKey);
    if (letter !== "z" && letter !== "y") return;
    event.preventDefault();
    if (redoing ? state.can_redo : state.can_undo) edit({ op: redoing ? "redo" : "undo" });
  });

  function update(next) {
    const fresh = !state || state.space !== next.space, known = state && state.evidence;
    state = next;
    if (fresh || known !== state.evidence) first = new Map(state.labels.map((label) => [label.id, doubt(label)]));
    undo.disabled = !state.can_undo;
    redo.disabled = !state.can_redo;
    reset.disabled = !state.changed;
    status.textContent = `${state.status} · ${state.evidence}`;
    settle(message, state.notes.map(([kind, text]) => make("div",
      { class: `ul-note ul-${kind === "error" ? "error" : "info"}` }, text)));
    if (state.refused) cards.delete(state.refused.id); // show the true value again
    list();
    if (wanted !== null && visible(host)) reveal(wanted);
    host.dataset.run = String(state.run);
  }

  return { update };
}
