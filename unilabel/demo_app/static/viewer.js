// A picture with its label maps: unilabelViewer(host, trigger) -> {update, add, show, busy, idle}.
// update(payload) shows an answer, add(payload) brings further label spaces of it, show(names) changes
// between them without the server. The form of payload: see payloads.py. Panels beside each other
// share pointer, zoom and isolated label. Needs png.js, zoom.js, painting.js.
function unilabelViewer(host, trigger) {
  "use strict";
  const { make, percent, dot } = unilabelDom, { load, save } = unilabelFiles();
  const painting = unilabelPainting();
  const HINT = "Point at the picture, or tap it, to see what a pixel is.";
  let payload = null, newest = 0, image = null, shown = [], wanted = null, waiting = null;
  let panels = []; // what is shown: {map, canvas, frame, layer, mark, info, legend, node}
  const maps = new Map(); // label space -> decoded label map
  const view = { opacity: 0.6, only: null, differ: false, wipe: false, at: 0.5 };
  const pointer = { x: 0, y: 0, on: false, pinned: false };
  const zoom = unilabelZoom(place);

  const notes = make("div", { class: "ul-notes", role: "status", "aria-live": "polite" });
  const time = make("span", { class: "ul-quiet ul-time", role: "status" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 60, class: "ul-opacity",
    "aria-label": "Opacity of the labels",
    oninput: () => { view.opacity = slider.value / 100; place(); } });
  const tick = (name, text, hint) => {
    const box = make("input", { type: "checkbox", class: `ul-tick-${name}`,
      onchange: () => { view[name] = box.checked; arrange(); } });
    return make("label", { title: hint }, box, text);
  };
  const wipe = tick("wipe", "Wipe", "One picture with a line to move: on its left and its right");
  const differ = tick("differ", "Only what differs", "Hide the pixels on which both agree");
  const outlines = tick("outlines", "Outlines and names", "Tells labels apart without their colours");
  const share = make("span", { class: "ul-quiet ul-share" });
  const whole = make("button", { type: "button", class: "ul-whole", hidden: true,
    onclick: zoom.reset }, "Whole picture");
  const bar = make("div", { class: "ul-viewbar", hidden: true },
    make("label", {}, "Opacity", slider), wipe, differ, outlines, share, whole);
  const body = make("div", { class: "ul-panels" });
  const line = make("input", { type: "range", min: 0, max: 1000, value: 500, class: "ul-wipe",
    "aria-label": "Where the line is", hidden: true,
    oninput: () => { view.at = line.value / 1000; place(); } });
  host.replaceChildren(make("div", { class: "ul-viewer" }, notes, time, bar, body));

  // --- one panel ---------------------------------------------------------------------------------

  function legend(panel) {
    return make("div", { class: "ul-legend" }, ...panel.map.entries.map((entry) => make("button",
      { type: "button", "data-id": entry.id, "aria-pressed": "false", title: "Show only this label",
        onclick: () => isolate(panel, entry.id) },
      dot(entry.color),
      make("span", {}, entry.name), make("span", { class: "ul-quiet" }, percent(entry.share)))));
  }

  function downloads(panel) {
    const { map } = panel, stem = `${payload.stem}_${map.stem}`;
    const json = "data:application/json;charset=utf-8,"
      + encodeURIComponent(JSON.stringify(map.record, null, 1));
    const forms = payload.forms || [];
    const more = make("select", { class: "ul-forms", "aria-label": "Other forms", onchange: () => {
      if (more.value) trigger("take", { form: more.value, space: map.id });
      more.value = "";
    } }, make("option", { value: "" }, "other forms …"),
    ...forms.map(([value, text]) => make("option", { value }, text)));
    return make("div", { class: "ul-downloads" }, "Download",
      make("button", { type: "button", class: "ul-get-labels",
        onclick: () => save(`${stem}.png`, map.labels) }, "label PNG"),
      make("button", { type: "button", class: "ul-get-overlay",
        onclick: () => painting.overlay(image, panel.canvas, view.opacity,
          (url) => save(`${stem}_overlay.png`, url)) }, "overlay"),
      make("button", { type: "button", onclick: () => save(`${stem}.json`, json) }, "JSON"),
      forms.length ? more : null);
  }

  function build(map) {
    const panel = { map };
    panel.canvas = make("canvas", { width: map.width, height: map.height });
    const photo = make("img", { src: payload.image, alt: payload.name, draggable: "false" });
    panel.layer = make("div", { class: "ul-layer" }, photo, panel.canvas);
    panel.mark = make("i", { class: "ul-mark", hidden: true });
    panel.frame = make("div", { class: "ul-frame", tabindex: "0", role: "application",
      "aria-label": `${payload.name}, ${map.title}: arrow keys move the pointer, plus and minus zoom`,
      style: `aspect-ratio:${map.width}/${map.height};`
      + `max-width:calc(min(56vh, 600px) * ${map.width / map.height})` }, panel.layer, panel.mark);
    panel.info = make("div", { class: "ul-spot", "aria-live": "polite" },
      make("span", { class: "ul-quiet" }, HINT));
    panel.legend = legend(panel);
    zoom.attach(panel.frame);
    const look = (event) => {
      Object.assign(pointer, zoom.at(panel.frame, event), { on: true });
      point();
    };
    panel.frame.addEventListener("pointermove", (event) => { if (!pointer.pinned) look(event); });
    panel.frame.addEventListener("pointerleave", () => { pointer.pinned = false; });
    panel.frame.addEventListener("click", (event) => { look(event); pointer.pinned = true; });
    panel.frame.addEventListener("dblclick", (event) => {
      const box = panel.frame.getBoundingClientRect();
      zoom.by(2, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    panel.frame.addEventListener("keydown", (event) => keys(event, map));
    panel.node = make("section", { class: "ul-panel", "data-space": map.space, "data-id": map.id },
      make("h3", {}, map.title), panel.frame, panel.info, panel.legend, downloads(panel));
    return panel;
  }

  function keys(event, map) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step],
      ArrowDown: [0, step] };
    if (event.key in moves) {
      const [right, down] = moves[event.key];
      const go = (value, by, count) => Math.min(count - 1,
        Math.max(0, Math.floor(value * count) + (pointer.on ? by : 0)));
      pointer.x = (go(pointer.x, right, map.width) + 0.5) / map.width;
      pointer.y = (go(pointer.y, down, map.height) + 0.5) / map.height;
      Object.assign(pointer, { on: true, pinned: true });
      point();
    } else if (event.key === "+" || event.key === "=") zoom.by(1.5);
    else if (event.key === "-") zoom.by(1 / 1.5);
    else if (event.key === "0") zoom.reset();
    else if (event.key === "Escape" && (view.only || zoom.state.k > 1)) {
      view.only = null;
      zoom.reset();
      paint();
    } else return;
    event.preventDefault();
  }

  // --- what all panels share ---------------------------------------------------------------------

  function point() {
    for (const panel of panels) {
      const { map } = panel;
      const at = (sheet) => Math.min(sheet.height - 1, Math.floor(pointer.y * sheet.height))
        * sheet.width + Math.min(sheet.width - 1, Math.floor(pointer.x * sheet.width));
      const sure = map.sure ? map.sure.ids[at(map.sure)] / 255 : null;
      panel.info.replaceChildren(...describe(map, map.ids[at(map)], sure));
    }
    place();
  }

  function describe(map, id, sure) {
    const entry = map.byId.get(id);
    if (!entry) return [make("span", { class: "ul-quiet" }, "no label")];
    const parts = [dot(entry.color),
      make("b", {}, entry.name)];
    const doubt = payload.foreign ? ", but the picture is unlike those of the training" : "";
    if (sure !== null) {
      parts.push(make("span", { class: "ul-quiet" }, `${percent(sure)} sure${doubt}`));
    }
    const list = make("dl", {});
    for (const [where, what] of entry.called) {
      list.append(make("dt", {}, where), make("dd", {}, what || "–"));
    }
    return [make("div", { class: "ul-answer" }, ...parts), list];
  }

  function isolate(panel, id) {
    const same = view.only && view.only.map === panel.map && view.only.id === id;
    view.only = same ? null : { map: panel.map, id };
    paint();
  }

  // Colours of all panels, and which labels their legends name.
  function paint() {
    const pair = panels.length > 1 ? painting.difference(panels[0].map, panels[1].map) : null;
    differ.hidden = !pair;
    share.textContent = pair && view.differ ? `${percent(pair.share)} of the pixels differ` : "";
    const mask = painting.mask(view.only, view.differ ? pair : null);
    for (const panel of panels) {
      painting.paint(panel.canvas, panel.map, mask);
      if (panel.lines) panel.lines.remove();
      panel.lines = view.outlines ? unilabelOutlines(panel.map, mask) : null;
      if (panel.lines) panel.canvas.after(panel.lines);
      const inside = mask ? painting.inside(panel.map, mask) : null;
      for (const button of panel.legend.querySelectorAll("button")) {
        const id = Number(button.dataset.id);
        const own = Boolean(view.only && view.only.map === panel.map && view.only.id === id);
        button.setAttribute("aria-pressed", String(own));
        button.classList.toggle("ul-faint", Boolean(inside && !inside.has(id)));
      }
    }
  }

  // Where everything lies: zoom, line of the wipe, pointer. Touches no pixel.
  function place() {
    const { k, x, y } = zoom.state, cut = Math.min(1, Math.max(0, x + view.at / k));
    whole.hidden = k === 1;
    whole.textContent = `Whole picture (${k.toFixed(1)} ×)`;
    panels.forEach((panel, index) => {
      const { frame, layer, canvas, mark, map } = panel;
      frame.hidden = view.wipe && index > 0;
      layer.style.transform = k === 1 ? "" : `scale(${k}) translate(${-100 * x}%, ${-100 * y}%)`;
      frame.style.touchAction = k === 1 ? "pan-x pan-y" : "none";
      const wide = frame.clientWidth || map.width;
      layer.classList.toggle("ul-coarse", k * wide > 1.5 * map.width || map.width < 700);
      canvas.style.opacity = String(view.opacity);
      canvas.style.clipPath = "";
      if (view.wipe) {
        const right = panels.length > 1 ? index > 0 : true; // alone: the photo is on the left
        canvas.style.clipPath = right ? `inset(0 0 0 ${100 * cut}%)` : `inset(0 ${100 * (1 - cut)}% 0 0)`;
      }
      if (panel.lines) panel.lines.style.clipPath = canvas.style.clipPath;
      mark.hidden = !pointer.on;
      mark.style.left = `${100 * k * (pointer.x - x)}%`;
      mark.style.top = `${100 * k * (pointer.y - y)}%`;
    });
    if (panels.length) panels[0].frame.style.setProperty("--line-at", `${100 * view.at}%`);
  }

  // Which canvas lies in which frame: in a wipe both lie in the first one.
  function arrange() {
    const [first, second] = panels;
    if (!first) return;
    if (second) (view.wipe ? first : second).layer.append(second.canvas);
    first.frame.classList.toggle("ul-wiped", view.wipe);
    first.frame.after(line);
    line.hidden = !view.wipe;
    paint();
    place();
  }

  // --- answers -----------------------------------------------------------------------------------

  const find = (name) => maps.get(name)
    || (payload.edited ? undefined : maps.get(name.replace(/^base:/, "")));

  // Draw the label spaces of these names; false where one has not come yet.
  function show(names) {
    const found = names.filter((name) => name !== "none");
    wanted = null;
    if (!payload || !image) return false;
    if (!found.every(find)) {
      wanted = names;
      if (!timer) say("Another moment: the other label spaces are on their way.");
      return false;
    }
    shown = found;
    panels = found.map((name) => build(find(name)));
    if (view.only && !panels.some((panel) => panel.map === view.only.map)) view.only = null;
    body.classList.toggle("ul-two", panels.length > 1);
    body.replaceChildren(...panels.map((panel) => panel.node));
    arrange();
    if (pointer.on && pointer.pinned) point();
    body.dataset.shown = shown.join(" ");
    if (payload.example !== undefined && !payload.aside) {
      document.dispatchEvent(new CustomEvent("unilabel-shown", { detail: {
        picture: payload.example === null ? null : String(payload.example), space: shown[0] } }));
    }
    return true;
  }

  async function decode(panel) {
    const map = { ...panel, ...await unilabelPng(panel.labels) };
    if (panel.confidence) map.sure = await unilabelPng(panel.confidence);
    map.byId = new Map(panel.entries.map((entry) => [entry.id, entry]));
    map.colors = painting.palette(panel.entries);
    painting.colours(map, null);
    return map;
  }

  async function update(next) {
    if (next.run <= newest) return undefined; // overtaken on its way by a later answer
    newest = next.run;
    notes.replaceChildren(...(next.notes || []).map(([kind, text]) => make("div",
      { class: `ul-note ul-${kind === "error" ? "error" : kind === "warning" ? "warning" : "info"}` },
      text)));
    if (!next.image) return idle("");
    const [photo, ...decoded] = await Promise.all([load(next.image), ...next.panels.map(decode)]);
    if (next.run !== newest) return undefined; // a newer answer came while this one was being decoded
    const other = !payload || payload.key !== next.key;
    payload = next;
    image = photo;
    if (other) {
      zoom.reset();
      Object.assign(pointer, { on: false, pinned: false });
    }
    view.only = null;
    maps.clear();
    for (const map of decoded) maps.set(map.id, map);
    bar.hidden = false;
    show(decoded.map((map) => map.id));
    body.dataset.run = String(next.run);
    host.dataset.spaces = String(maps.size);
    idle(next.seconds !== undefined ? `${next.name}, ${photo.width} × ${photo.height}: predicted in `
      + `${next.seconds < 0.05 ? "under 0.1" : next.seconds.toFixed(1)} s.` : "");
    if (waiting) add(waiting);
    return undefined;
  }

  async function add(more) {
    waiting = more;
    if (!payload || more.run !== payload.run) return; // belongs to an answer that is still to come
    waiting = null;
    const decoded = await Promise.all(more.panels.map(decode));
    if (more.run !== payload.run) return;
    for (const map of decoded) maps.set(map.id, map);
    host.dataset.spaces = String(maps.size);
    if (wanted && show(wanted)) say("");
  }

  // --- waiting -----------------------------------------------------------------------------------

  let timer = 0;
  const say = (text) => { time.textContent = text; };

  function seek() { // on a phone the answer may be out of sight
    const box = host.getBoundingClientRect();
    if (box.top > 0.6 * window.innerHeight || box.bottom < 80) host.scrollIntoView({ block: "start" });
  }

  function busy() {
    const start = performance.now();
    clearInterval(timer);
    host.classList.add("ul-busy");
    host.setAttribute("aria-busy", "true");
    const count = () => say(`Predicting, ${((performance.now() - start) / 1000).toFixed(1)} s`);
    timer = setInterval(count, 100);
    count();
    seek();
  }

  function idle(text) {
    clearInterval(timer);
    timer = 0;
    host.classList.remove("ul-busy");
    host.removeAttribute("aria-busy");
    say(text);
  }

  host.unilabel = { update, show, add, busy, idle, zoom };
  return { update };
}
