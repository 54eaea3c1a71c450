// Where the nodes of a label graph lie: unilabelGraphLayout(model, shown, options) -> {columns, gap,
// width, height}. The order comes from the server, rows are compressed to what is shown.
const unilabelGraphSizes = { ROW: 24, SQUARE: 13, TOP: 44, SIDE: 24, LONGEST: 44 }; // pixels, letters

function unilabelGraphLayout(model, shown, { active, bare, room }) {
  const { ROW, SQUARE, TOP, SIDE, LONGEST } = unilabelGraphSizes, { data } = model;
  const pen = document.createElement("canvas").getContext("2d");
  const cut = (name) => (name.length > LONGEST ? name.slice(0, LONGEST - 1) + "…" : name);

  function width(names, font) {
    pen.font = font;
    return names.reduce((most, name) => Math.max(most, pen.measureText(cut(name)).width), 0);
  }

  // Positions nearest to the wanted ones, in order and a row apart (pool adjacent violators).
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

  const rows = new Map([...shown.keys()].map((id, row) => [id, row])), last = rows.size - 1;
  const columns = [];
  function column(index, left) {
    const set = data.datasets[index], sums = set.classes.map(() => [0, 0]);
    for (const [id, links] of shown) for (const [d, c] of links) {
      if (d === index) { sums[c][0] += rows.get(id); sums[c][1] += 1; }
    }
    const order = set.order.filter((c) => !bare || sums[c][1]);
    if (!order.length) return; // nothing of it is shown: the column is folded
    const wanted = sums.map(([sum, count]) => (count ? sum / count : last));
    order.sort((a, b) => wanted[a] - wanted[b]);
    const at = place(order.map((c) => wanted[c]), last);
    const names = width(order.map((c) => set.classes[c][0]), "13px system-ui, sans-serif") + SQUARE + 7;
    const head = Math.min(width([set.title], "700 14px system-ui, sans-serif"), Math.max(120, names));
    columns.push({ index, left, text: Math.max(names, head), rows: new Map(order.map((c, i) => [c, at[i]])) });
  }
  data.left.filter((i) => active[i]).forEach((i) => column(i, true));
  const middle = width([...rows.keys()].map((id) => data.unified[id].name),
    "600 13px system-ui, sans-serif") + SQUARE + 24;
  columns.push({ index: -1, text: Math.max(middle, 120), rows });
  data.right.filter((i) => active[i]).forEach((i) => column(i, false));

  const texts = columns.reduce((sum, entry) => sum + entry.text, 0) + 2 * SIDE;
  let gap = columns.length > 5 ? 84 : 110;
  if (bare && columns.length > 1) gap = Math.min(gap, Math.max(34, (room - texts) / (columns.length - 1)));
  let x = SIDE;
  for (const entry of columns) { entry.x = x; x += entry.text + gap; }
  const deepest = columns.reduce((most, c) => Math.max(most, ...c.rows.values()), 0);
  return { columns, gap, cut, width: x - gap + SIDE, height: TOP + (deepest + 1) * ROW + 16 };
}
