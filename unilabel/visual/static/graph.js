// An interactive label graph: unilabelGraph(host) -> {update(data)}. Needs no other script; all
// texts are set as text, never as markup. The form of data is that of graph_page.graph_data.
function unilabelGraph(host) {
  "use strict";
  const ROW = 24, SQUARE = 13, TOP = 44, SIDE = 24; // pixels at zoom 1
  const FAR = 5.5; // names smaller than this are left out
  const KINDS = {
    equal: ["equal to", "#15803d"], superset: ["wider than", "#1d4ed8"],
    subset: ["part of", "#b45309"], overlap: ["overlaps", "#be123c"],
  };
  let data = null, active = [], picked = null, hits = new Set(), scheme = "dataset", table = false;
  let gap = 0, view = { x: 0, y: 0, k: 1 }, world = { w: 1, h: 1 }, nodes = new Map(), drag = null;
  const pointers = new Map();
  const measure = document.createElement("canvas").getContext("2d");

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function svg(tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const rgb = (c) => `rgb(${c[0]},${c[1]},${c[2]})`;
  const dot = (c) => make("i", { class: "ul-dot", style: `background:${rgb(c)}` });
  const percent = (value) => (value > 0 && value < 0.0005 ? "under 0.1"
    : (100 * value).toFixed(value < 0.1 ? 1 : 0)) + "\u00a0%";
  const cut = (name) => (name.length > 44 ? name.slice(0, 43) + "…" : name);
  const key = (dataset, id) => (dataset < 0 ? `u${id}` : `c${dataset}.${id}`);

  // ---- structure ---------------------------------------------------------------------------
  const search = make("input", { type: "search", class: "ul-search", placeholder: "Search a class",
    "aria-label": "Search a class", oninput: onSearch, onkeydown: onSearchKey });
  const found = make("span", { class: "ul-found", "aria-live": "polite" });
  const chips = make("span", { class: "ul-bar", style: "margin:0" });
  const colours = make("select", { "aria-label": "Colour of the links",
    onchange: () => { scheme = colours.value; draw(); } },
    make("option", { value: "dataset" }, "by dataset"),
    make("option", { value: "relation" }, "by relation"));
  const toggle = make("button", { type: "button", class: "ul-toggle",
    onclick: () => { table = !table; show(); } }, "Table");
  const canvas = svg("svg", { role: "img", "aria-label": "Label graph" });
  const layer = canvas.appendChild(svg("g"));
  const stage = make("div", { class: "ul-stage" }, canvas);
  const zooms = make("span", { class: "ul-zoom" },
    make("button", { type: "button", title: "Zoom in", onclick: () => zoom(1.4) }, "+"),
    make("button", { type: "button", title: "Zoom out", onclick: () => zoom(1 / 1.4) }, "−"),
    make("button", { type: "button", title: "Show everything", onclick: fitAll }, "⤢"),
    make("button", { type: "button", title: "Fit the width", onclick: fitWidth }, "↔"));
  const grid = make("div", { class: "ul-table", hidden: true });
  const side = make("aside", { class: "ul-side" });
  const root = make("div", { class: "ul-graph" },
    make("div", { class: "ul-bar" }, search, found, zooms, make("label", {}, "Links", colours),
      toggle),
    make("div", { class: "ul-bar" }, chips),
    make("div", { class: "ul-main" }, stage, grid, side));
  host.replaceChildren(root);

  // ---- layout: order from the server, rows compressed to what is shown ------------------------
  function place(targets, last) {
    const blocks = [];
    targets.forEach((target, index) => {
      let block = [target - index, 1];
      while (blocks.length && blocks[blocks.length - 1][0] > block[0]) {
        const before = blocks.pop(), size = before[1] + block[1];
        block = [(before[0] * before[1] + block[0] * block[1]) / size, size];
      }
      blocks.push(block);
    });
    const limit = Math.max(last, targets.length - 1) - (targets.length - 1);
    return blocks.flatMap(([mean, size]) => Array(size).fill(Math.min(Math.max(mean, 0), limit)))
      .map((value, index) => value + index);
  }

  function layout() {
    const shown = data.order.filter((id) => active.every(Boolean)
      || data.unified[id].links.some((link) => active[link[0]]));
    const rows = new Map(shown.map((id, row) => [id, row]));
    const columns = [];
    const width = (names, font) => {
      measure.font = font;
      return names.reduce((most, name) => Math.max(most, measure.measureText(cut(name)).width), 0);
    };
    const column = (index, left) => {
      const set = data.datasets[index], sums = set.classes.map(() => [0, 0]);
      for (const id of shown) for (const [d, c] of data.unified[id].links) {
        if (d === index) { sums[c][0] += rows.get(id); sums[c][1] += 1; }
      }
      const wanted = sums.map(([sum, count]) => (count ? sum / count : shown.length - 1));
      const order = set.order.slice().sort((a, b) => wanted[a] - wanted[b]);
      const at = place(order.map((c) => wanted[c]), shown.length - 1);
      const text = Math.max(width(set.classes.map((c) => c[0]), "13px system-ui, sans-serif")
        + SQUARE + 7, width([set.title], "700 14px system-ui, sans-serif"));
      columns.push({ index, left, text, rows: new Map(order.map((c, i) => [c, at[i]])) });
    };
    data.left.filter((i) => active[i]).forEach((i) => column(i, true));
    const middle = width(shown.map((id) => data.unified[id].name),
      "600 13px system-ui, sans-serif") + SQUARE + 24;
    columns.push({ index: -1, text: Math.max(middle, 120), rows });
    data.right.filter((i) => active[i]).forEach((i) => column(i, false));
    gap = columns.length > 5 ? 84 : 110;
    let x = SIDE;
    for (const entry of columns) { entry.x = x; x += entry.text + gap; }
    const deepest = columns.reduce((most, c) => Math.max(most, ...c.rows.values()), 0);
    world = { w: x - gap + SIDE, h: TOP + (deepest + 1) * ROW + 16 };
    return columns;
  }

  // ---- drawing ---------------------------------------------------------------------------------
  function draw() {
    const columns = layout(), unified = columns.find((c) => c.index < 0);
    layer.replaceChildren();
    nodes = new Map();
    const edges = layer.appendChild(svg("g"));
    const y = (row) => TOP + (row + 0.5) * ROW;
    for (const c of columns) {
      if (c.index < 0) continue;
      const set = data.datasets[c.index], dir = c.left ? 1 : -1;
      const start = c.left ? c.x + c.text : c.x, end = c.left ? unified.x : unified.x + unified.text;
      const near = columns.filter((o) => o.left === c.left && o.index >= 0);
      const port = ((near.indexOf(c) + 0.5) / near.length - 0.5) * (c.left ? 1 : -1) * 0.6 * ROW;
      for (const [id, row] of unified.rows) for (const [d, k, weight] of data.unified[id].links) {
        if (d !== c.index) continue;
        const y0 = y(c.rows.get(k)) + port, y1 = y(row) + port, bend = end - dir * gap * 0.9;
        const several = set.counts[k] > 1;
        edges.append(svg("path", { class: "ul-edge", "data-a": key(d, k), "data-b": key(-1, id),
          d: `M${start} ${y0}H${bend}C${end - dir * gap * 0.4} ${y0} ${end - dir * gap * 0.5} ${y1} `
            + `${end} ${y1}`,
          stroke: scheme === "dataset" ? set.color : KINDS[several ? "superset" : "equal"][1],
          "stroke-width": 0.8 + 2.6 * weight }));
      }
    }
    measure.font = "13px system-ui, sans-serif";
    for (const c of columns) {
      const head = c.index < 0 ? "unified labels" : data.datasets[c.index].title;
      const edge = c.left ? c.x + c.text : c.x;
      layer.append(svg("text", { class: "ul-head", x: c.index < 0 ? c.x + c.text / 2 : edge, y: 20,
        "text-anchor": c.index < 0 ? "middle" : c.left ? "end" : "start", "data-solo": c.index,
        fill: c.index < 0 ? "currentColor" : data.datasets[c.index].color }, head));
      for (const [id, row] of c.rows) {
        const name = c.index < 0 ? data.unified[id].name : data.datasets[c.index].classes[id][0];
        const colour = c.index < 0 ? data.unified[id].color : data.datasets[c.index].classes[id][1];
        const node = svg("g", { class: "ul-node", "data-key": key(c.index, id) });
        node.append(svg("title", {}, name));
        let at = edge;
        if (c.index < 0) {
          node.classList.add("unified");
          if (!data.unified[id].links.length) node.classList.add("unlinked");
          node.append(svg("rect", { class: "ul-box", x: c.x, y: y(row) - ROW * 0.43, rx: 4,
            width: c.text, height: ROW * 0.86 }));
          at = c.x + 6;
        } else if (c.left) at = edge - SQUARE;
        node.append(svg("rect", { x: at, y: y(row) - SQUARE / 2, width: SQUARE, height: SQUARE,
          rx: 2, fill: rgb(colour), stroke: c.index < 0 ? "#777" : data.datasets[c.index].color }));
        if (c.index >= 0) { // links to the columns behind do not run through the name
          const long = measure.measureText(cut(name)).width + 8;
          node.append(svg("rect", { class: "ul-back", x: c.left ? at - 4 - long : at + SQUARE + 2,
            y: y(row) - ROW * 0.36, width: long + 2, height: ROW * 0.72, rx: 3 }));
        }
        node.append(svg("text", { x: c.left ? at - 6 : at + SQUARE + 6, y: y(row),
          "text-anchor": c.left ? "end" : "start" }, cut(name)));
        layer.append(node);
        nodes.set(key(c.index, id), { node, x: c.x, y: y(row), w: c.text });
      }
    }
    mark();
    apply();
  }

  function apply() {
    layer.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
    canvas.classList.toggle("ul-far", 13 * view.k < FAR);
  }

  function narrow() { return (host.clientWidth || window.innerWidth) < 700; }

  function size() { return { w: stage.clientWidth || 800, h: stage.clientHeight || 500 }; }

  function fitWidth() {
    stage.style.height = "";
    const { w, h } = size(), k = Math.min(1.15, Math.max(0.3, w / world.w));
    // no empty space below a small graph
    stage.style.height = world.h * k + 32 < h ? `${world.h * k + 32}px` : "";
    view = { k, x: Math.max(0, (w - world.w * k) / 2), y: Math.min(16, Math.max(0, (h - world.h * k) / 2)) };
    apply();
  }

  function fitAll() {
    stage.style.height = "";
    const { w, h } = size(), k = Math.min(1.15, w / world.w, h / world.h);
    view = { k, x: (w - world.w * k) / 2, y: (h - world.h * k) / 2 };
    apply();
  }

  function zoom(factor, cx, cy) {
    const { w, h } = size();
    if (cx === undefined) { cx = w / 2; cy = h / 2; }
    const k = Math.min(4, Math.max(0.04, view.k * factor)), f = k / view.k;
    view = { k, x: cx - (cx - view.x) * f, y: cy - (cy - view.y) * f };
    apply();
  }

  function centre(id) {
    const spot = nodes.get(id), { w, h } = size();
    if (!spot) return;
    const near = [...around(id)].map((other) => nodes.get(other)).filter(Boolean);
    const left = Math.min(...near.map((n) => n.x)), right = Math.max(...near.map((n) => n.x + n.w));
    const fit = (w - 24) / (right - left), all = fit > 0.6; // the neighbours too, if they fit
    const k = all ? Math.min(fit, Math.max(view.k, 0.95)) : Math.max(view.k, 0.95);
    const middle = all ? (left + right) / 2 : spot.x + spot.w / 2;
    view = { k, x: w / 2 - middle * k, y: h / 2 - spot.y * k };
    apply();
  }

  // ---- selection ---------------------------------------------------------------------------------
  function parse(id) {
    if (id[0] === "u") return [-1, Number(id.slice(1))];
    return id.slice(1).split(".").map(Number);
  }

  function unifiedOf(dataset, id) {
    return data.order.filter((u) => data.unified[u].links.some((l) => l[0] === dataset && l[1] === id));
  }

  function relations(dataset, id) {
    const mine = new Set(unifiedOf(dataset, id)), shared = new Map();
    for (const u of mine) for (const [d, c] of data.unified[u].links) {
      if (d !== dataset) shared.set(key(d, c), (shared.get(key(d, c)) || 0) + 1);
    }
    return [...shared].map(([other, count]) => {
      const [d, c] = parse(other), total = data.datasets[d].counts[c];
      const kind = count === mine.size ? (count === total ? "equal" : "subset")
        : (count === total ? "superset" : "overlap");
      return { kind, d, c };
    }).sort((a, b) => a.d - b.d || a.c - b.c);
  }

  function around(id) {
    const [d, c] = parse(id), near = new Set([id]);
    const labels = d < 0 ? [c] : unifiedOf(d, c);
    for (const u of labels) {
      near.add(key(-1, u));
      for (const link of data.unified[u].links) near.add(key(link[0], link[1]));
    }
    return near;
  }

  function mark() {
    const near = picked ? around(picked) : new Set();
    canvas.classList.toggle("ul-picked", Boolean(picked && nodes.has(picked)));
    for (const [id, { node }] of nodes) {
      node.classList.toggle("on", near.has(id));
      node.classList.toggle("picked", id === picked);
      node.classList.toggle("hit", hits.has(id));
      node.style.removeProperty("--kind");
      node.classList.remove("related");
    }
    if (picked && picked[0] === "c") {
      for (const { kind, d, c } of relations(...parse(picked))) {
        const spot = nodes.get(key(d, c));
        if (!spot) continue;
        spot.node.classList.add("related");
        spot.node.style.setProperty("--kind", KINDS[kind][1]);
      }
    }
    for (const edge of layer.querySelectorAll(".ul-edge")) {
      edge.classList.toggle("on", near.has(edge.dataset.a) && near.has(edge.dataset.b));
    }
  }

  function pick(id) {
    picked = id;
    mark();
    detail();
  }

  function link(d, c, ...after) {
    const entry = d < 0 ? data.unified[c] : null, item = d < 0 ? null : data.datasets[d].classes[c];
    const name = d < 0 ? entry.name : item[0], colour = d < 0 ? entry.color : item[1];
    const text = d < 0 ? name : `${data.datasets[d].title}: ${name}`;
    return make("li", {}, make("button", { type: "button", class: "ul-link",
      onclick: () => { pick(key(d, c)); centre(key(d, c)); } }, dot(colour), text), ...after);
  }

  function detail() {
    if (!picked) {
      const links = data.unified.reduce((sum, u) => sum + u.links.length, 0);
      const classes = data.datasets.reduce((sum, d) => sum + d.classes.length, 0);
      side.replaceChildren(make("h3", {}, "Label graph"), make("p", {},
        `${classes} classes of ${data.datasets.length} datasets share ${data.unified.length} unified `
        + `labels through ${links} links.`),
      make("p", {}, "Click a label to see what it stands for, or a dataset's name to see it alone. "
        + "Drag to move; pinch or Ctrl + wheel to zoom."),
      make("h4", {}, "Relations"), make("ul", {}, ...Object.values(KINDS).map(([text, colour]) =>
        make("li", {}, make("span", { class: "ul-tag", style: `background:${colour}` }, text)))));
      return;
    }
    const [d, c] = parse(picked), parts = [];
    const close = make("button", { type: "button", title: "Close", style: "margin-left:auto",
      onclick: () => pick(null) }, "×");
    if (d < 0) {
      const entry = data.unified[c], stats = (data.stats || {})[c];
      parts.push(make("h3", {}, dot(entry.color), entry.name, close),
        make("p", {}, `Unified label ${c}${entry.checked ? ", checked by a person" : ""}.`));
      if (stats) {
        parts.push(make("p", {}, `${percent(stats.share)} of the pixels seen`
          + (stats.confidence === null ? "." : `, mean confidence ${percent(stats.confidence)}.`)));
        if (stats.crops.length) parts.push(make("div", { class: "ul-crops" },
          ...stats.crops.map((src) => make("img", { src, alt: `example of ${entry.name}` }))));
      }
      parts.push(make("h4", {}, "Stands for"), make("ul", {}, ...entry.links.map(([k, id, weight, source]) =>
        link(k, id, ` ${weight.toFixed(2)}${source === "learned" ? "" : " " + source}`))));
    } else {
      const [name, colour, text] = data.datasets[d].classes[c];
      parts.push(make("h3", {}, dot(colour), name, close),
        make("p", {}, `Class ${c} of ${data.datasets[d].title}.`));
      if (text) parts.push(make("p", {}, text));
      const seen = unifiedOf(d, c).map((u) => (data.stats || {})[u]).filter(Boolean);
      if (seen.length) parts.push(make("p", {},
        `${percent(seen.reduce((sum, s) => sum + s.share, 0))} of the pixels seen.`));
      parts.push(make("h4", {}, "Unified labels"),
        make("ul", {}, ...unifiedOf(d, c).map((u) => link(-1, u))));
      const related = relations(d, c);
      parts.push(make("h4", {}, "Classes of other datasets"));
      parts.push(related.length ? make("ul", {}, ...related.map(({ kind, d: other, c: id }) => {
        const row = link(other, id);
        row.prepend(make("span", { class: "ul-tag", style: `background:${KINDS[kind][1]}` },
          KINDS[kind][0]), " ");
        return row;
      })) : make("p", {}, "None."));
    }
    side.replaceChildren(...parts);
  }

  // ---- search, filter, table ------------------------------------------------------------------
  function matches(words, text) { return words.every((word) => text.toLowerCase().includes(word)); }

  function onSearch() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = new Set();
    if (words.length) {
      data.unified.forEach((u, id) => { if (matches(words, u.name)) hits.add(key(-1, id)); });
      data.datasets.forEach((set, d) => set.classes.forEach((entry, id) => {
        if (active[d] && matches(words, entry[0])) hits.add(key(d, id));
      }));
    }
    found.textContent = words.length ? `${hits.size} found` : "";
    mark();
    if (table) rows();
    else if (hits.size) centre([...hits][0]);
  }

  function onSearchKey(event) {
    if (event.key !== "Enter" || !hits.size) return;
    const list = [...hits], next = list[(list.indexOf(picked) + 1) % list.length];
    pick(next);
    centre(next);
  }

  function filter(change) {
    change();
    if (!active.some(Boolean)) active = active.map(() => true);
    chip();
    draw();
    if (table) rows();
    fitWidth();
  }

  function solo(index) {
    filter(() => {
      const alone = active[index] && active.filter(Boolean).length === 1;
      active = active.map((_, d) => alone || d === index);
    });
  }

  function chip() {
    chips.replaceChildren(...data.datasets.map((set, d) => make("button", { type: "button",
      class: "ul-chip", "aria-pressed": String(active[d]), title: "Show or hide; double click: alone",
      onclick: () => filter(() => { active[d] = !active[d]; }), ondblclick: () => solo(d) },
    make("i", { style: `background:${set.color}` }), `${narrow() ? set.name : set.title} (${set.classes.length})`)),
    make("button", { type: "button", onclick: () => filter(() => { active = active.map(() => true); }) },
      "All"));
  }

  function rows() {
    const shown = data.datasets.map((_, d) => d).filter((d) => active[d]);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const body = make("tbody", {});
    for (const id of data.order) {
      const entry = data.unified[id];
      const cells = shown.map((d) => entry.links.find((l) => l[0] === d));
      const names = cells.map((l) => (l ? data.datasets[l[0]].classes[l[1]][0] : ""));
      if (!matches(words, [entry.name, ...names].join(" "))) continue;
      if (shown.length < data.datasets.length && !cells.some(Boolean)) continue;
      body.append(make("tr", { onclick: () => pick(key(-1, id)) },
        make("td", {}, String(id)), make("td", {}, dot(entry.color), " ", make("b", {}, entry.name)),
        ...cells.map((l, i) => make("td", {}, ...(l ? [names[i], " ", make("span",
          { class: "ul-weight" }, l[2].toFixed(2) + (l[3] === "learned" ? "" : ` ${l[3]}`))] : ["–"])))));
    }
    grid.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "id"),
      make("th", {}, "unified label"), ...shown.map((d) => make("th",
        { style: `color:${data.datasets[d].color}` }, data.datasets[d].title)))), body));
  }

  function show() {
    stage.hidden = table;
    grid.hidden = !table;
    toggle.textContent = table ? "Graph" : "Table";
    toggle.setAttribute("aria-pressed", String(table));
    if (table) rows(); else apply();
  }

  // ---- pointer -----------------------------------------------------------------------------------
  canvas.addEventListener("wheel", (event) => {
    const box = canvas.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0025), event.clientX - box.left, event.clientY - box.top);
      return;
    }
    const lowest = Math.min(0, box.height - world.h * view.k), old = view.y;
    view.y = Math.min(Math.max(0, old), Math.max(Math.min(lowest, old), old - event.deltaY));
    view.x -= event.deltaX;
    if (view.y !== old || event.deltaX) event.preventDefault(); // at the end the page scrolls on
    apply();
  }, { passive: false });

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    drag = { x: event.clientX, y: event.clientY, moved: false, target: event.target };
  });
  canvas.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old || !drag) return;
    const now = [event.clientX, event.clientY], box = canvas.getBoundingClientRect();
    if (Math.hypot(now[0] - drag.x, now[1] - drag.y) > 4 && !drag.moved) {
      drag.moved = true;
      canvas.setPointerCapture(event.pointerId);
    }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(old[0] - other[0], old[1] - other[1]);
      const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
      if (before > 0) zoom(after / before, (now[0] + other[0]) / 2 - box.left,
        (now[1] + other[1]) / 2 - box.top);
      drag.moved = true;
    } else if (drag.moved) {
      view.x += now[0] - old[0];
      view.y += now[1] - old[1];
      apply();
    }
    pointers.set(event.pointerId, now);
  });
  function release(event) {
    pointers.delete(event.pointerId);
    if (drag && !drag.moved && event.type === "pointerup") {
      const node = drag.target.closest(".ul-node"), head = drag.target.closest(".ul-head");
      if (node) pick(node.dataset.key);
      else if (head && Number(head.dataset.solo) >= 0) solo(Number(head.dataset.solo));
      else pick(null);
    }
    if (!pointers.size) drag = null;
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);

  let sized = false;
  new ResizeObserver(() => { // hidden tabs have no size: fit when the graph gets one
    if (!data || !stage.clientWidth || sized) return;
    sized = true;
    fitWidth();
  }).observe(stage);

  function update(next) {
    const same = data && next.datasets.length === data.datasets.length;
    data = next;
    for (const [d, set] of data.datasets.entries()) {
      set.counts = set.classes.map(() => 0);
      for (const u of data.unified) for (const l of u.links) if (l[0] === d) set.counts[l[1]] += 1;
    }
    if (!same) {
      active = data.datasets.map((_, d) => !narrow() || d === 0);
      picked = null;
    }
    chip();
    draw();
    show();
    detail();
    if (!same && stage.clientWidth) fitWidth();
  }

  return { update };
}
