// An interactive label graph: unilabelGraph(host, trigger, server) -> {update(data)}, together with
// the other graph_*.js. The form of data is that of graph_page.graph_data; server may be missing.
function unilabelGraph(host, trigger, server) {
  "use strict";
  const { make, svg, dot, words, visible } = unilabelDom, KINDS = unilabelGraphKinds;
  const FAR = 5.5; // names smaller than this are left out
  const MANY = 60; // from so many unified labels on the rest is folded when one is chosen
  let model = null, layout = null, active = [], picked = null, chosen = null, hits = new Set();
  let shown = new Map(), nodes = new Map(), placeHeads = () => {}, cursor = null, home = null;
  let mode = "graph", view = { x: 0, y: 0, k: 1 }, sized = false;
  const filters = { relation: "", weight: 0, shared: 1 };

  // ---- structure ---------------------------------------------------------------------------
  const search = make("input", { type: "search", class: "ul-search", placeholder: "Search a class",
    "aria-label": "Search a class", oninput: onSearch, onkeydown: onSearchKey });
  const found = make("span", { class: "ul-found", "aria-live": "polite" });
  const chips = make("span", { class: "ul-bar ul-chips" });
  const option = (value, text) => make("option", { value }, text);
  const select = (name, change, ...options) => {
    const field = make("select", { "aria-label": name, onchange: () => change(field.value) }, ...options);
    return field;
  };
  const scheme = select("Colour of the links", () => draw(), option("dataset", "by dataset"),
    option("relation", "by relation"));
  const explain = make("span", { class: "ul-explain", hidden: true },
    make("i", { class: "ul-line", style: `background:${KINDS.equal[1]}` }),
    "the only unified label of its class (equal)",
    make("i", { class: "ul-line ul-dashed", style: `color:${KINDS.superset[1]}` }),
    "one of several (the class is wider)");
  const relation = select("Relation", (value) => { filters.relation = value; filtered(); },
    option("", "all relations"), ...Object.keys(KINDS).map((k) => option(k, `with “${KINDS[k][0]}”`)));
  const weight = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0,
    class: "ul-least", "aria-label": "Least weight of a link",
    oninput: () => { filters.weight = Number(weight.value); filtered(); } });
  const weighed = make("output", {}, "0.00");
  const shared = select("Shared by at least", (value) => { filters.shared = Number(value); filtered(); });
  const modes = select("Show as", (value) => { mode = value; show(); }, option("graph", "Graph"),
    option("table", "Table"), option("matrix", "Matrix"));
  modes.classList.add("ul-mode");
  const one = select("Rows", () => show()), two = select("Columns", () => show());
  const related = make("input", { type: "checkbox", checked: true, onchange: () => show() });
  const pair = make("span", { class: "ul-bar ul-pair", hidden: true }, make("label", {}, "Rows", one),
    make("label", {}, "Columns", two), make("label", {}, related, "related classes only"));
  const canvas = svg("svg", { role: "group", "aria-label": "Label graph" });
  const layer = canvas.appendChild(svg("g", { class: "ul-drawing" })), heads = canvas.appendChild(svg("g"));
  const stage = make("div", { class: "ul-stage" }, canvas);
  const icon = (text, title, onclick) => make("button", { type: "button", title, "aria-label": title,
    onclick }, text);
  const corners = svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" },
    svg("path", { d: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4", fill: "none", stroke: "currentColor",
      "stroke-width": 1.6 }));
  const whole = icon(corners, "Full screen", () => full(!root.classList.contains("ul-full")));
  const zooms = make("span", { class: "ul-zoom" }, icon("+", "Zoom in", () => zoom(1.4)),
    icon("−", "Zoom out", () => zoom(1 / 1.4)), icon("⤢", "Show everything", fitAll),
    icon("↔", "Fit the width", fitWidth), whole);
  const grid = make("div", { class: "ul-table", hidden: true, tabindex: "0" });
  const side = make("aside", { class: "ul-side" });
  const about = unilabelGraphSide(side, { pick: choose, link: pickLink, server });
  const root = make("div", { class: "ul-graph" },
    make("div", { class: "ul-bar" }, search, found, zooms, make("label", {}, "Links", scheme), modes),
    make("div", { class: "ul-bar ul-filters" }, make("label", {}, relation),
      make("label", {}, "weight from", weight, weighed), make("label", {}, "shared by", shared), explain, pair),
    make("div", { class: "ul-bar" }, chips),
    make("div", { class: "ul-main" }, stage, grid, side));
  host.replaceChildren(root);

  // ---- drawing ---------------------------------------------------------------------------------
  const folded = () => Boolean(picked && model.data.unified.length >= MANY);

  function draw() {
    const only = folded() ? model.around(picked) : null;
    shown = model.visible({ active, ...filters, only });
    const bare = Boolean(only || filters.relation || filters.weight || filters.shared > 1);
    layout = unilabelGraphLayout(model, shown, { active, bare, room: size().w });
    nodes = unilabelGraphDraw(model, shown, layout, layer, scheme.value);
    placeHeads = unilabelGraphHeads(model, layout, heads);
    explain.hidden = scheme.value === "dataset" || mode !== "graph";
    if (!nodes.has(cursor)) cursor = nodes.size ? [...nodes.keys()].find((id) => id[0] === "u") || null : null;
    if (cursor) nodes.get(cursor).node.setAttribute("tabindex", "0");
    mark();
    apply();
  }

  function apply() {
    layer.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
    canvas.classList.toggle("ul-far", 13 * view.k < FAR);
    placeHeads(view, size().w);
  }

  function narrow() { return (host.clientWidth || window.innerWidth) < 700; }

  function size() { return { w: stage.clientWidth || 800, h: stage.clientHeight || 500 }; }

  function fitWidth() {
    stage.style.height = "";
    const { w, h } = size(), k = Math.min(1.15, Math.max(0.3, w / layout.width));
    // no empty space below a small graph
    const tall = root.classList.contains("ul-full") || layout.height * k + 32 >= h;
    stage.style.height = tall ? "" : `${layout.height * k + 32}px`;
    view = { k, x: Math.max(0, (w - layout.width * k) / 2), y: Math.min(16, Math.max(0, (h - layout.height * k) / 2)) };
    apply();
  }

  function fitAll() {
    stage.style.height = "";
    const { w, h } = size(), k = Math.min(1.15, w / layout.width, h / layout.height);
    view = { k, x: (w - layout.width * k) / 2, y: (h - layout.height * k) / 2 };
    apply();
  }

  function zoom(factor, cx = size().w / 2, cy = size().h / 2) {
    const k = Math.min(4, Math.max(0.04, view.k * factor)), f = k / view.k;
    view = { k, x: cx - (cx - view.x) * f, y: cy - (cy - view.y) * f };
    apply();
  }

  function centre(id) {
    const spot = nodes.get(id), { w, h } = size();
    if (!spot) return;
    const near = [...model.around(id)].map((other) => nodes.get(other)).filter(Boolean);
    const left = Math.min(...near.map((n) => n.x)), right = Math.max(...near.map((n) => n.x + n.w));
    const fit = (w - 24) / (right - left), all = fit > 0.6; // the neighbours too, if they fit
    const k = all ? Math.min(fit, Math.max(view.k, 0.95)) : Math.max(view.k, 0.95);
    const middle = all ? (left + right) / 2 : spot.x + spot.w / 2;
    view = { k, x: w / 2 - middle * k, y: h / 2 - spot.y * k };
    apply();
  }

  function full(on) {
    root.classList.toggle("ul-full", on);
    document.documentElement.classList.toggle("ul-still", on);
    whole.title = on ? "Leave full screen (Escape)" : "Full screen";
    whole.setAttribute("aria-label", whole.title);
    draw();
    fitWidth();
  }

  // ---- selection ---------------------------------------------------------------------------------
  function mark() {
    const near = picked ? model.around(picked) : new Set();
    const ends = chosen && [model.key(chosen.d, chosen.c), model.key(-1, chosen.u)];
    canvas.classList.toggle("ul-picked", Boolean(ends || (picked && nodes.has(picked) && !folded())));
    const kinds = new Map(picked && picked[0] === "c" ? model.relations(...model.parse(picked))
      .map((other) => [model.key(other.d, other.c), KINDS[other.kind][1]]) : []);
    for (const [id, { node }] of nodes) {
      node.classList.toggle("on", near.has(id) || Boolean(ends && ends.includes(id)));
      node.classList.toggle("picked", id === picked);
      node.classList.toggle("hit", hits.has(id));
      node.classList.toggle("related", kinds.has(id));
      node.style.setProperty("--kind", kinds.get(id) || "none");
    }
    for (const edge of layer.querySelectorAll(".ul-edge")) {
      const { a, b } = edge.dataset;
      edge.classList.toggle("on", ends ? ends.includes(a) && ends.includes(b) : near.has(a) && near.has(b));
    }
  }

  function left() { // what is folded, in words
    if (!folded()) return "";
    const gone = active.filter(Boolean).length + 1 - layout.columns.length;
    return gone ? `${gone} of ${active.filter(Boolean).length} datasets ${gone === 1 ? "has" : "have"} no link to it`
      + ` and ${gone === 1 ? "is" : "are"} folded.` : "";
  }

  function pick(id) {
    const before = folded();
    if (id && !home) home = { ...view };
    picked = id;
    chosen = null;
    if (before || folded()) draw();
    else mark();
    if (id && folded()) {
      fitWidth();
      if (view.k < 0.7) centre(id); // a phone: names that can be read, the rest a drag away
      else centreAll();
    }
    if (!id && home && !search.value) back();
    about.show(model, { node: picked }, left());
  }

  function back() { // where the graph was before something was searched or chosen
    view = home;
    home = null;
    stage.style.height = "";
    apply();
  }

  function centreAll() {
    const { h } = size();
    if (layout.height * view.k > h) {
      const spot = nodes.get(picked);
      if (spot) view.y = Math.min(16, Math.max(h - layout.height * view.k - 16, h / 2 - spot.y * view.k));
    }
    apply();
  }

  function choose(id) { // from the side or the table
    if (id && model.has(id) && id[0] === "c") active[model.parse(id)[0]] = true;
    pick(id);
    chip();
    if (id && mode === "graph" && !folded()) { if (!nodes.has(id)) draw(); centre(id); }
  }

  function pickLink(d, c, u) {
    chosen = { d, c, u };
    mark();
    about.show(model, { link: chosen });
  }

  // ---- search, filter, table ------------------------------------------------------------------
  function onSearch() {
    const wanted = words(search.value), fits = (text) => wanted.every((w) => text.toLowerCase().includes(w));
    if (wanted.length && !home) home = { ...view };
    if (picked) { picked = null; draw(); about.show(model, {}); }
    hits = new Set();
    if (wanted.length) {
      model.data.unified.forEach((u, id) => { if (fits(u.name)) hits.add(model.key(-1, id)); });
      model.data.datasets.forEach((set, d) => set.classes.forEach((entry, id) => {
        if (active[d] && fits(entry[0])) hits.add(model.key(d, id));
      }));
    }
    found.textContent = wanted.length ? `${hits.size} found` : "";
    mark();
    if (mode !== "graph") show();
    else if (hits.size) centre([...hits].find((id) => nodes.has(id)));
    else if (!wanted.length && home) back();
  }

  function onSearchKey(event) {
    if (event.key !== "Enter" || !hits.size) return;
    const list = [...hits], next = list[(list.indexOf(picked) + 1) % list.length];
    pick(next);
    if (!folded()) centre(next);
  }

  function filtered() {
    weighed.textContent = filters.weight.toFixed(2);
    if (!active.some(Boolean)) active = active.map(() => true);
    home = null;
    draw();
    if (mode === "graph") fitWidth();
    else show();
    chip();
  }

  function solo(index) {
    const alone = active[index] && active.filter(Boolean).length === 1;
    picked = chosen = null; // the dataset alone, not what is folded around a label
    about.show(model, {});
    active = active.map((_, d) => alone || d === index);
    filtered();
  }

  function chip() {
    const sets = model.data.datasets, count = active.filter(Boolean).length;
    const toggle = (d) => { active[d] = !active[d]; filtered(); };
    chips.replaceChildren(...sets.map((set, d) => make("button", { type: "button", class: "ul-chip",
      "aria-pressed": String(active[d]), title: "Show or hide; double click: alone",
      onclick: () => toggle(d), ondblclick: () => solo(d) }, dot(set.color),
    make("span", {}, `${narrow() ? set.name : set.title} (${set.classes.length})`))),
    make("button", { type: "button", onclick: () => { active = active.map(() => true); filtered(); } }, "All"),
    make("span", { class: "ul-count" }, `${count} of ${sets.length} datasets shown, `
      + `${shown.size} of ${model.data.unified.length} unified labels`));
  }

  function show() {
    stage.hidden = mode !== "graph";
    grid.hidden = mode === "graph";
    pair.hidden = mode !== "matrix";
    explain.hidden = scheme.value === "dataset" || mode !== "graph";
    if (mode === "graph") { draw(); return; }
    shown = model.visible({ active, ...filters });
    if (one.value === two.value) two.value = String((Number(one.value) + 1) % model.data.datasets.length);
    grid.replaceChildren(mode === "table"
      ? unilabelGraphTable(model, shown, { active, wanted: words(search.value), pick: choose })
      : unilabelGraphMatrix(model, Number(one.value), Number(two.value), { pick: choose, related: related.checked }));
  }

  // ---- keyboard ----------------------------------------------------------------------------------
  function step(key) {
    const spot = nodes.get(cursor), all = [...nodes].map(([id, n]) => ({ id, ...n }));
    const upright = key === "ArrowUp" || key === "ArrowDown", sign = /Up|Left/.test(key) ? -1 : 1;
    let fits = all.filter((n) => (upright ? n.column === spot.column && sign * (n.y - spot.y) > 0
      : sign * (n.x - spot.x) > 0));
    if (!upright && fits.length) {
      const next = fits.reduce((best, n) => (sign * (n.x - best.x) < 0 ? n : best)).column;
      fits = fits.filter((n) => n.column === next);
    }
    return fits.sort((a, b) => Math.abs(a.y - spot.y) - Math.abs(b.y - spot.y))[0];
  }

  function focus(id) {
    if (cursor && nodes.has(cursor)) nodes.get(cursor).node.setAttribute("tabindex", "-1");
    cursor = id;
    const spot = nodes.get(id), { w, h } = size();
    spot.node.setAttribute("tabindex", "0");
    const x = view.x + spot.x * view.k, y = view.y + spot.y * view.k, wide = spot.w * view.k;
    if (x < 0 || x + wide > w) view.x += w / 2 - (x + wide / 2); // bring it into the frame
    if (y < 50 || y > h - 20) view.y += h / 2 - y;
    apply();
    spot.node.focus({ preventScroll: true });
  }

  layer.addEventListener("keydown", (event) => {
    const node = event.target.closest(".ul-node");
    if (!node) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const id = node.dataset.key;
      pick(id);
      if (nodes.has(id)) focus(id);
    } else if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      cursor = node.dataset.key;
      const next = step(event.key);
      if (next) focus(next.id);
    }
  });
  layer.addEventListener("focusin", (event) => {
    const node = event.target.closest(".ul-node");
    if (node && node.dataset.key !== cursor) focus(node.dataset.key);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !model || !visible(host)) return;
    if (picked || chosen) pick(null);
    else if (root.classList.contains("ul-full")) full(false);
  });

  // ---- start -------------------------------------------------------------------------------------
  unilabelGraphPointer(canvas, {
    zoom, size, apply, at: () => view, height: () => layout.height,
    tap: (target) => {
      const node = target.closest(".ul-node"), head = target.closest(".ul-head"), edge = target.closest(".ul-edge");
      if (node) pick(node.dataset.key);
      else if (head && Number(head.dataset.solo) >= 0) solo(Number(head.dataset.solo));
      else if (edge) pickLink(...model.parse(edge.dataset.a), model.parse(edge.dataset.b)[1]);
      else if (!head) pick(null);
    },
  });
  new ResizeObserver(() => { // hidden tabs have no size: fit when the graph gets one
    if (!model || !stage.clientWidth || sized) return;
    sized = true;
    fitWidth();
  }).observe(stage);

  function update(data) {
    const same = model && data.datasets.length === model.data.datasets.length;
    model = unilabelGraphModel(data);
    if (!same) {
      const sets = data.datasets.map((set, d) => option(String(d), set.title));
      active = sets.map((_, d) => !narrow() || d === 0);
      one.replaceChildren(...sets.map((o) => o.cloneNode(true)));
      two.replaceChildren(...sets);
      shared.replaceChildren(...sets.map((_, n) => option(String(n + 1), n ? `at least ${n + 1} datasets` : "any number")));
    }
    if (!same || (picked && !model.has(picked))) picked = null;
    chosen = null;
    draw();
    chip();
    show();
    about.show(model, { node: picked }, left());
    if (!same && stage.clientWidth) fitWidth();
  }

  return { update };
}
