// What a label graph says, without drawing it: unilabelGraphModel(data). The form of data is that of
// graph_page.graph_data. A node has a key: "u7" is unified label 7, "c2.5" class 5 of dataset 2.
function unilabelGraphModel(data) {
  "use strict";
  const key = (dataset, id) => (dataset < 0 ? `u${id}` : `c${dataset}.${id}`);
  const labels = data.datasets.map((set) => set.classes.map(() => [])); // of every class, in order
  for (const u of data.order) for (const [d, c] of data.unified[u].links) labels[d][c].push(u);

  function parse(id) {
    return id[0] === "u" ? [-1, Number(id.slice(1))] : id.slice(1).split(".").map(Number);
  }

  const has = (id) => {
    const [d, c] = parse(id);
    return d < 0 ? c < data.unified.length : Boolean(data.datasets[d] && data.datasets[d].classes[c]);
  };
  const unifiedOf = (d, c) => labels[d][c];
  const name = (d, c) => (d < 0 ? data.unified[c].name : data.datasets[d].classes[c][0]);
  const color = (d, c) => (d < 0 ? data.unified[c].color : data.datasets[d].classes[c][1]);

  function kind(d, c, other, id, shared) {
    const mine = labels[d][c].length, theirs = labels[other][id].length;
    if (shared === mine) return shared === theirs ? "equal" : "subset";
    return shared === theirs ? "superset" : "overlap";
  }

  // Classes of other datasets that share a unified label with a class.
  function relations(d, c) {
    const shared = new Map();
    for (const u of labels[d][c]) for (const [other, id] of data.unified[u].links) {
      if (other !== d) shared.set(key(other, id), (shared.get(key(other, id)) || 0) + 1);
    }
    return [...shared].map(([node, count]) => {
      const [other, id] = parse(node);
      return { kind: kind(d, c, other, id, count), d: other, c: id, shared: count };
    }).sort((a, b) => a.d - b.d || a.c - b.c);
  }

  // A node and all that it is linked with, through its unified labels.
  function around(id) {
    const [d, c] = parse(id), near = new Set([id]);
    for (const u of d < 0 ? [c] : labels[d][c]) {
      near.add(key(-1, u));
      for (const link of data.unified[u].links) near.add(key(link[0], link[1]));
    }
    return near;
  }

  const kinds = new Map(); // unified label -> relations of its classes to each other
  function kindsOf(u) {
    if (!kinds.has(u)) {
      const links = data.unified[u].links, found = new Set();
      for (const [d, c] of links) for (const relation of relations(d, c)) {
        if (links.some((l) => l[0] === relation.d && l[1] === relation.c)) found.add(relation.kind);
      }
      kinds.set(u, found);
    }
    return kinds.get(u);
  }

  // The links that a filter lets through, of every unified label that it shows, in order.
  function visible({ active, weight, shared, relation, only }) {
    const all = active.every(Boolean) && !weight && shared < 2 && !relation && !only;
    const shown = new Map();
    for (const u of data.order) {
      if (only && !only.has(key(-1, u))) continue;
      const links = data.unified[u].links.filter((l) => active[l[0]] && l[2] >= weight
        && (!only || only.has(key(l[0], l[1]))));
      if (!all && links.length < Math.max(1, shared)) continue;
      if (relation && !kindsOf(u).has(relation)) continue;
      shown.set(u, links);
    }
    return shown;
  }

  // Beside learned links those that only texts tell are drawn apart.
  const mixed = data.unified.some((u) => u.links.some((l) => l[3] !== "text"));
  const byText = (source) => mixed && source === "text";

  return { data, byText, key, parse, has, name, color, unifiedOf, relations, around, visible };
}
