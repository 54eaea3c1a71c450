// Edits of a label space: unilabelReview(host, trigger) -> {update(state)}. Every edit goes to the
// server as trigger("edit", {...}); the server answers with the whole state (see payloads).
function unilabelReview(host, trigger) {
  "use strict";
  const PAGE = 30;
  let state = null, shown = PAGE;
  const cards = new Map();

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const hex = (c) => "#" + c.map((v) => v.toString(16).padStart(2, "0")).join("");
  const edit = (change) => trigger("edit", change);

  const search = make("input", { type: "search", placeholder: "Search a label or class",
    "aria-label": "Search a label or class", oninput: () => { shown = PAGE; list(); } });
  const order = make("select", { "aria-label": "Order", onchange: () => { shown = PAGE; list(); } },
    make("option", { value: "suspicious" }, "suspicious first"),
    make("option", { value: "name" }, "by name"),
    make("option", { value: "id" }, "by number"));
  const open = make("input", { type: "checkbox", onchange: () => { shown = PAGE; list(); } });
  const undo = make("button", { type: "button", class: "ul-undo", onclick: () => edit({ op: "undo" }) },
    "Undo");
  const redo = make("button", { type: "button", onclick: () => edit({ op: "redo" }) }, "Redo");
  const reset = make("button", { type: "button", onclick: () => edit({ op: "reset" }) }, "Reset");
  const status = make("span", { class: "ul-quiet ul-status", role: "status" });
  const message = make("div", { class: "ul-notes", "aria-live": "assertive" });
  const body = make("div", { class: "ul-cards" });
  const more = make("button", { type: "button", onclick: () => { shown += PAGE; list(); } },
    "Show more");
  host.replaceChildren(make("div", { class: "ul-review" },
    make("div", { class: "ul-viewbar" }, undo, redo, reset, status),
    message,
    make("div", { class: "ul-viewbar" }, search, order,
      make("label", {}, open, "not checked yet only")),
    body, more));

  function fill(select, dataset, current) {
    if (select.dataset.filled) return;
    select.dataset.filled = "1";
    const options = state.datasets[dataset].classes.map((name, id) =>
      make("option", { value: String(id), selected: id === current }, name));
    select.replaceChildren(make("option", { value: "-1", selected: current < 0 }, "– none –"), ...options);
  }

  function card(label) {
    const picker = make("input", { type: "color", value: hex(label.color), "aria-label": "Colour",
      onchange: () => edit({ op: "colour", id: label.id, value: picker.value }) });
    const name = make("input", { type: "text", value: label.name, maxlength: "80",
      "aria-label": `Name of unified label ${label.id}`,
      onchange: () => edit({ op: "name", id: label.id, value: name.value }),
      onkeydown: (event) => { if (event.key === "Enter") name.blur(); } });
    const checked = make("input", { type: "checkbox", checked: label.checked,
      onchange: () => edit({ op: "check", id: label.id, value: checked.checked }) });
    const links = label.links.map((link, dataset) => {
      const set = state.datasets[dataset], current = link ? link.class : -1;
      const select = make("select", { "data-dataset": set.name, "aria-label": `${label.name}: class of `
        + `${set.title}`, onchange: () => edit({ op: "link", id: label.id, dataset: set.name,
        value: Number(select.value) }) },
      make("option", { value: String(current), selected: true },
        link ? set.classes[link.class] : "– none –"));
      for (const event of ["pointerdown", "focus", "mousedown"]) {
        select.addEventListener(event, () => fill(select, dataset, current));
      }
      const weight = link ? (link.source === "human" ? "by hand"
        : `${link.source === "text" ? "text " : ""}${link.weight.toFixed(2)}`) : "";
      return make("label", { class: `ul-linkcell${link && link.reason ? " ul-suspect" : ""}` },
        make("span", { class: "ul-linkhead" }, make("span", { style: `color:${set.color}`,
          title: set.title }, set.title.length > 20 ? set.name : set.title),
          make("span", { class: "ul-quiet" }, weight)), select,
        link && link.reason ? make("span", { class: "ul-reason" }, link.reason) : null);
    });
    return make("article", { class: `ul-card${label.checked ? " ul-checked" : ""}`,
      "data-id": label.id },
    make("div", { class: "ul-cardhead" }, picker, name, make("label", {}, checked, "checked")),
    make("div", { class: "ul-links" }, ...links));
  }

  const doubt = (label) => label.links.reduce((most, l) => Math.max(most, l ? l.score : 0), 0);

  function list() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = state.labels.filter((label) => {
      if (open.checked && label.checked) return false;
      const text = [label.name, ...label.links.map((link, d) =>
        (link ? state.datasets[d].classes[link.class] : ""))].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    if (order.value === "name") fits.sort((a, b) => a.name.localeCompare(b.name));
    // the order of doubt is that of the model's links: cards stay in place while they are edited
    if (order.value === "suspicious") fits.sort((a, b) => first.get(b.id) - first.get(a.id) || a.id - b.id);
    const page = fits.slice(0, shown).map((label) => {
      const key = JSON.stringify(label), old = cards.get(label.id);
      if (old && old.key === key) return old.node;
      const node = card(label);
      cards.set(label.id, { key, node });
      return node;
    });
    body.replaceChildren(...page);
    if (!page.length) body.replaceChildren(make("p", { class: "ul-quiet" }, "No label fits."));
    more.hidden = fits.length <= shown;
    more.textContent = `Show more (${fits.length - shown} left)`;
  }

  let first = new Map();

  function update(next) {
    const fresh = !state || state.space !== next.space;
    const focus = document.activeElement, active = focus && host.contains(focus) ? focus : null;
    const spot = active && active.closest(".ul-card") ? [active.closest(".ul-card").dataset.id,
      active.dataset.dataset, active.type] : null;
    state = next;
    if (fresh) first = new Map(state.labels.map((label) => [label.id, doubt(label)]));
    undo.disabled = !state.can_undo;
    redo.disabled = !state.can_redo;
    reset.disabled = !state.changed;
    status.textContent = state.status;
    message.replaceChildren(...state.notes.map(([kind, text]) => make("div",
      { class: `ul-note ul-${kind === "error" ? "error" : "info"}` }, text)));
    if (state.refused) cards.delete(state.refused.id); // show the true value again
    list();
    host.dataset.run = String(state.run);
    if (spot) {
      const again = [...host.querySelectorAll(`.ul-card[data-id="${spot[0]}"] input,`
        + `.ul-card[data-id="${spot[0]}"] select`)].find((node) =>
        node.dataset.dataset === spot[1] && node.type === spot[2]);
      if (again) again.focus({ preventScroll: true });
    }
  }

  return { update };
}
