// What is said beside a label graph about the node or link that is chosen: unilabelGraphSide(side,
// {pick, link, server}) -> {show(model, choice, folded)}.
function unilabelGraphSide(side, { pick, link, server }) {
  const { make, dot, percent, plural } = unilabelDom, KINDS = unilabelGraphKinds;
  let model = null, turn = 0;

  const button = (d, c) => make("button", { type: "button", class: "ul-link",
    onclick: () => pick(model.key(d, c)) }, dot(model.color(d, c)),
  d < 0 ? model.name(d, c) : `${model.data.datasets[d].title}: ${model.name(d, c)}`);
  const close = () => make("button", { type: "button", "aria-label": "Close", title: "Close (Escape)",
    class: "ul-close", onclick: () => pick(null) }, "×");
  const head = (text, ...marks) => make("h3", {}, ...marks, text, close());
  const list = (rows) => (rows.length ? make("ul", {}, ...rows) : make("p", {}, "None."));

  function weight(d, c, u, entry) {
    const text = `${entry[2].toFixed(2)}${entry[3] === "learned" ? "" : " " + entry[3]}`;
    return make("button", { type: "button", class: "ul-link ul-weigh", title: "Show this link",
      "aria-label": `Link to ${model.name(d, c)}, weight ${text}`, onclick: () => link(d, c, u) }, text);
  }

  function overview() {
    const { data } = model;
    const links = data.unified.reduce((sum, u) => sum + u.links.length, 0);
    const classes = data.datasets.reduce((sum, d) => sum + d.classes.length, 0);
    return [make("h3", {}, "Label graph"), make("p", {}, `${classes} classes of ${data.datasets.length} `
      + `datasets share ${data.unified.length} unified labels through ${links} links.`),
    data.unified.some((u) => u.links.some((l) => model.byText(l[3])))
      ? make("p", {}, "Dotted: links that names, a dictionary or descriptions tell, and no photo.") : "",
    make("p", {}, "Click a label to see what it stands for, a link to see why it is there, or a "
      + "dataset's name to see it alone. Drag to move; pinch or Ctrl + wheel to zoom. Arrow keys move "
      + "between labels, Enter opens one, Escape goes back."),
    make("h4", {}, "Relations"), make("ul", {}, ...Object.values(KINDS).map(([text, colour]) =>
      make("li", {}, make("span", { class: "ul-tag", style: `background:${colour}` }, text))))];
  }

  function unified(u, folded) {
    const entry = model.data.unified[u], stats = (model.data.stats || {})[u], parts = [];
    parts.push(head(entry.name, dot(entry.color)),
      make("p", {}, `Unified label ${u}${entry.checked ? ", checked by a person" : ""}.`));
    if (folded) parts.push(make("p", {}, folded));
    if (stats) {
      parts.push(make("p", {}, `${percent(stats.share)} of the pixels seen`
        + (stats.confidence === null ? "." : `, mean confidence ${percent(stats.confidence)}.`)));
      if (stats.crops.length) parts.push(make("div", { class: "ul-crops" },
        ...stats.crops.map((src) => make("img", { src, alt: `example of ${entry.name}` }))));
    }
    parts.push(make("h4", {}, "Stands for"), list(entry.links.map((l) =>
      make("li", {}, button(l[0], l[1]), " ", weight(l[0], l[1], u, l)))));
    return parts;
  }

  function ofClass(d, c, folded) {
    const [name, colour, text] = model.data.datasets[d].classes[c], labels = model.unifiedOf(d, c);
    const parts = [head(name, dot(colour)), make("p", {}, `Class ${c} of ${model.data.datasets[d].title}.`)];
    if (text) parts.push(make("p", {}, text));
    if (folded) parts.push(make("p", {}, folded));
    const seen = labels.map((u) => (model.data.stats || {})[u]).filter(Boolean);
    if (seen.length) parts.push(make("p", {},
      `${percent(seen.reduce((sum, s) => sum + s.share, 0))} of the pixels seen.`));
    parts.push(make("h4", {}, "Unified labels"), list(labels.map((u) => make("li", {}, button(-1, u), " ",
      weight(d, c, u, model.data.unified[u].links.find((l) => l[0] === d && l[1] === c))))));
    parts.push(make("h4", {}, "Classes of other datasets"), list(model.relations(d, c).map((other) =>
      make("li", {}, make("span", { class: "ul-tag", style: `background:${KINDS[other.kind][1]}` },
        KINDS[other.kind][0]), " ", button(other.d, other.c)))));
    return parts;
  }

  function ofLink({ d, c, u }) {
    const entry = model.data.unified[u].links.find((l) => l[0] === d && l[1] === c);
    const place = make("div", { class: "ul-place" }), own = turn;
    if (server) {
      place.append(make("p", { class: "ul-quiet" }, "Looking for photos…"));
      server.link_evidence([model.data.datasets[d].name, c, u]).then((answer) => {
        if (own === turn) place.replaceChildren(unilabelEvidence(answer));
      });
    }
    const several = model.unifiedOf(d, c).length;
    return [head("Link"), make("ul", {}, make("li", {}, button(d, c)), make("li", {}, button(-1, u))),
      make("p", {}, `Weight ${entry[2].toFixed(2)}, ${entry[3] === "human" ? "set by a person" : entry[3]}. `
        + `The class has ${plural(several, "unified label")}.`), place];
  }

  // choice: {node} or {link}, neither: the graph as a whole; folded: what is not shown, in words
  function show(next, choice, folded) {
    model = next;
    turn += 1;
    if (choice.link) return side.replaceChildren(...ofLink(choice.link));
    if (!choice.node) return side.replaceChildren(...overview());
    const [d, c] = model.parse(choice.node);
    return side.replaceChildren(...(d < 0 ? unified(c, folded) : ofClass(d, c, folded)));
  }

  return { show };
}
