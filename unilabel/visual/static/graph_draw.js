// Draws a label graph: unilabelGraphDraw(model, layout, layer, scheme) -> Map of nodes {node, x, y, w}.
const unilabelGraphKinds = { // relation -> in words, colour
  equal: ["equal to", "#15803d"], superset: ["wider than", "#1d4ed8"],
  subset: ["part of", "#b45309"], overlap: ["overlaps", "#be123c"],
};

function unilabelGraphDraw(model, shown, layout, layer, scheme) {
  "use strict";
  const { svg, rgb } = unilabelDom, { key, name, color, data } = model;
  const { ROW, SQUARE, TOP } = unilabelGraphSizes, { columns, gap, cut } = layout;
  const unified = columns.find((c) => c.index < 0), nodes = new Map();
  const y = (row) => TOP + (row + 0.5) * ROW;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "13px system-ui, sans-serif";
  layer.replaceChildren();
  const edges = layer.appendChild(svg("g"));

  function edge(c, near, id, row, [d, k, weight, source]) {
    const set = data.datasets[d], dir = c.left ? 1 : -1;
    const start = c.left ? c.x + c.text : c.x, end = c.left ? unified.x : unified.x + unified.text;
    // the datasets of a side arrive below each other, else their links would hide one another
    const port = ((near.indexOf(c) + 0.5) / near.length - 0.5) * dir * 0.6 * ROW;
    const y0 = y(c.rows.get(k)) + port, y1 = y(row) + port;
    const path = `M${start} ${y0}H${end - dir * gap * 0.9}C${end - dir * gap * 0.4} ${y0} `
      + `${end - dir * gap * 0.5} ${y1} ${end} ${y1}`;
    const several = model.unifiedOf(d, k).length > 1;
    const stroke = scheme === "dataset" ? set.color : unilabelGraphKinds[several ? "superset" : "equal"][1];
    const told = model.byText(source), split = scheme !== "dataset" && several;
    const line = svg("path", { d: path, stroke, "stroke-width": told ? 1.4 : 0.8 + 2.6 * weight });
    if (told || split) line.setAttribute("stroke-dasharray", told ? "1.5 4" : "7 3");
    const text = `${name(d, k)} of ${set.title} – ${name(-1, id)}: ${weight.toFixed(2)}, ${source}`;
    edges.append(svg("g", { class: "ul-edge", "data-a": key(d, k), "data-b": key(-1, id) },
      svg("title", {}, text), svg("path", { d: path, class: "ul-touch" }), line));
  }

  function node(c, id, row) {
    const own = c.index < 0, text = name(c.index, id), border = own ? "#777" : data.datasets[c.index].color;
    const edgeAt = c.left ? c.x + c.text : c.x;
    const where = own ? "unified label" : `class of ${data.datasets[c.index].title}`;
    const group = svg("g", { class: "ul-node", "data-key": key(c.index, id), role: "button",
      tabindex: "-1", "aria-label": `${text}, ${where}` }, svg("title", {}, text));
    let at = edgeAt;
    if (own) {
      group.classList.add("unified");
      if (!data.unified[id].links.length) group.classList.add("unlinked");
      group.append(svg("rect", { class: "ul-box", x: c.x, y: y(row) - ROW * 0.43, rx: 4,
        width: c.text, height: ROW * 0.86 }));
      at = c.x + 6;
    } else if (c.left) at = edgeAt - SQUARE;
    group.append(svg("rect", { x: at, y: y(row) - SQUARE / 2, width: SQUARE, height: SQUARE, rx: 2,
      fill: rgb(color(c.index, id)), stroke: border }));
    if (!own) { // links to the columns behind do not run through the name
      const long = pen.measureText(cut(text)).width + 8;
      group.append(svg("rect", { class: "ul-back", x: c.left ? at - 4 - long : at + SQUARE + 2,
        y: y(row) - ROW * 0.36, width: long + 2, height: ROW * 0.72, rx: 3 }));
    }
    group.append(svg("text", { x: c.left ? at - 6 : at + SQUARE + 6, y: y(row),
      "text-anchor": c.left ? "end" : "start" }, cut(text)));
    layer.append(group);
    nodes.set(key(c.index, id), { node: group, x: c.x, y: y(row), w: c.text, column: c });
  }

  for (const c of columns) {
    const near = columns.filter((o) => o.left === c.left && o.index >= 0);
    if (c.index < 0) continue;
    for (const [id, links] of shown) for (const link of links) {
      if (link[0] === c.index) edge(c, near, id, unified.rows.get(id), link);
    }
  }
  for (const c of columns) for (const [id, row] of c.rows) node(c, id, row);
  return nodes;
}

// The heads of the columns, which stay in place while the graph is moved below them.
function unilabelGraphHeads(model, layout, group) {
  "use strict";
  const { svg } = unilabelDom, pen = document.createElement("canvas").getContext("2d");
  pen.font = "700 14px system-ui, sans-serif";
  group.replaceChildren(svg("rect", { class: "ul-bar-back", x: 0, y: 0, width: "100%", height: 34 }));
  const heads = layout.columns.map((c) => {
    const set = c.index < 0 ? null : model.data.datasets[c.index];
    const title = set ? set.title : "unified labels";
    const node = svg("g", { class: "ul-head", "data-solo": c.index }, svg("title", {}, title));
    const text = svg("text", { y: 17, "text-anchor": set ? (c.left ? "end" : "start") : "middle" });
    const mark = set ? svg("rect", { y: 11, width: 12, height: 12, rx: 3, fill: set.color }) : null;
    node.append(...[mark, text].filter(Boolean));
    group.append(node);
    return { c, title, short: set ? set.name : title, text, mark };
  });
  return ({ x, k }, width) => {
    for (const { c, title, short, text, mark } of heads) {
      const at = x + k * (c.left ? c.x + c.text : c.x); // and as far as the frame goes
      const room = Math.min((c.text + layout.gap * 0.8) * k, !mark ? width : c.left ? at - 6 : width - at - 6)
        - (mark ? 20 : 0);
      const fits = (words) => pen.measureText(words).width <= room;
      let shown = fits(title) || !fits(short) ? title : short; // a whole short name before half a long one
      while (shown.length > 2 && !fits(shown)) {
        shown = shown.slice(0, shown.endsWith("…") ? -2 : -1) + "…";
      }
      const edge = x + k * (c.index < 0 ? c.x + c.text / 2 : c.left ? c.x + c.text : c.x);
      text.textContent = shown;
      text.setAttribute("x", mark ? edge + (c.left ? -18 : 18) : edge);
      if (mark) mark.setAttribute("x", edge + (c.left ? -12 : 0));
    }
  };
}
