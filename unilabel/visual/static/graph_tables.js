// A label graph as a table, and one dataset against another as a matrix.
function unilabelGraphTable(model, shown, { active, wanted, pick }) {
  const { make, dot } = unilabelDom, { data } = model;
  const sets = data.datasets.map((_, d) => d).filter((d) => active[d]);
  const body = make("tbody", {});
  for (const [id, links] of shown) {
    const entry = data.unified[id], cells = sets.map((d) => links.find((l) => l[0] === d));
    const names = cells.map((l) => (l ? model.name(l[0], l[1]) : ""));
    const text = [entry.name, ...names].join(" ").toLowerCase();
    if (!wanted.every((word) => text.includes(word))) continue;
    body.append(make("tr", {}, make("td", {}, String(id)),
      make("td", {}, make("button", { type: "button", class: "ul-link",
        onclick: () => pick(model.key(-1, id)) }, dot(entry.color), make("b", {}, entry.name))),
      ...cells.map((l, i) => make("td", {}, ...(l ? [make("button", { type: "button", class: "ul-link",
        onclick: () => pick(model.key(l[0], l[1])) }, names[i]), " ", make("span", { class: "ul-weight" },
        l[2].toFixed(2) + (l[3] === "learned" ? "" : ` ${l[3]}`))] : ["–"])))));
  }
  return make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "id"),
    make("th", {}, "unified label"), ...sets.map((d) => make("th", {}, dot(data.datasets[d].color), " ",
      data.datasets[d].title)))), body);
}

function unilabelGraphMatrix(model, one, two, { pick, related }) {
  const { make, dot } = unilabelDom, { data } = model, KINDS = unilabelGraphKinds;
  const SIGNS = { equal: "=", superset: "⊃", subset: "⊂", overlap: "∩" };
  const cells = new Map(), rows = new Set(), columns = new Set();
  data.datasets[one].classes.forEach((_, c) => {
    for (const relation of model.relations(one, c)) if (relation.d === two) {
      cells.set(`${c}.${relation.c}`, relation);
      rows.add(c);
      columns.add(relation.c);
    }
  });
  const order = (d, kept) => data.datasets[d].order.filter((c) => !related || kept.has(c));
  const across = order(two, columns), down = order(one, rows);
  const head = (d, c) => [dot(model.color(d, c)), " ", model.name(d, c)];
  return make("table", { class: "ul-matrix" },
    make("caption", {}, `${data.datasets[one].title} (rows) against ${data.datasets[two].title}: `
      + Object.keys(SIGNS).map((kind) => `${SIGNS[kind]} ${KINDS[kind][0]}`).join(", ")),
    make("thead", {}, make("tr", {}, make("td", {}), ...across.map((c) =>
      make("th", { scope: "col" }, make("div", {}, ...head(two, c)))))),
    make("tbody", {}, ...down.map((r) => make("tr", {}, make("th", { scope: "row" }, ...head(one, r)),
      ...across.map((c) => {
        const relation = cells.get(`${r}.${c}`);
        if (!relation) return make("td", {});
        const text = `${model.name(one, r)} ${KINDS[relation.kind][0]} ${model.name(two, c)}`;
        return make("td", {}, make("button", { type: "button", title: text, "aria-label": text,
          style: `background:${KINDS[relation.kind][1]}`, onclick: () => pick(model.key(one, r)) },
        SIGNS[relation.kind]));
      })))));
}
