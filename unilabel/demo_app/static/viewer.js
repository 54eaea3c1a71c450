// A picture with its label maps: unilabelViewer(host) -> {update(payload)}. Overlay, opacity,
// legend, the label under the pointer, downloads. The form of payload: see payloads.viewer_payload.
function unilabelViewer(host) {
  "use strict";
  let payload = null, opacity = 0.6, sequence = 0;

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const rgb = (c) => `rgb(${c[0]},${c[1]},${c[2]})`;
  const percent = (value) => (value > 0 && value < 0.0005 ? "under 0.1"
    : (100 * value).toFixed(value < 0.1 ? 1 : 0)) + "\u00a0%";

  const notes = make("div", { class: "ul-notes", role: "status", "aria-live": "polite" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 60, class: "ul-opacity",
    "aria-label": "Opacity of the labels", oninput: () => setOpacity(slider.value / 100) });
  const bar = make("div", { class: "ul-viewbar", hidden: true },
    make("label", {}, "Opacity", slider));
  const panels = make("div", { class: "ul-panels" });
  host.replaceChildren(make("div", { class: "ul-viewer" }, notes, bar, panels));

  function setOpacity(value) {
    opacity = value;
    for (const canvas of panels.querySelectorAll("canvas")) canvas.style.opacity = String(value);
  }

  function load(source) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("picture"));
      image.src = source;
    });
  }

  // Label ids of a PNG: the red channel, plus 256 times the green one where there are many labels.
  function ids(image, wide) {
    const canvas = make("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    const labels = new Uint16Array(image.width * image.height);
    for (let i = 0; i < labels.length; i += 1) {
      labels[i] = pixels[4 * i] + (wide ? 256 * pixels[4 * i + 1] : 0);
    }
    return labels;
  }

  function paint(panel) {
    const { canvas, labels, colors, only } = panel, context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height), data = image.data;
    for (let i = 0; i < labels.length; i += 1) {
      const color = colors.get(labels[i]);
      if (!color || (only !== null && labels[i] !== only)) continue;
      data[4 * i] = color[0];
      data[4 * i + 1] = color[1];
      data[4 * i + 2] = color[2];
      data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  function save(name, url) {
    const anchor = make("a", { href: url, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  }

  function saveOverlay(panel, name) {
    const canvas = make("canvas", { width: panel.canvas.width, height: panel.canvas.height });
    const context = canvas.getContext("2d");
    context.drawImage(panel.image, 0, 0);
    context.globalAlpha = opacity;
    context.drawImage(panel.canvas, 0, 0);
    canvas.toBlob((blob) => {
      const url = URL.createObjectURL(blob);
      save(name, url);
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
  }

  function isolate(panel, id) {
    panel.only = panel.only === id ? null : id;
    paint(panel);
    for (const button of panel.legend.querySelectorAll("button")) {
      const own = Number(button.dataset.id) === panel.only;
      button.setAttribute("aria-pressed", String(own));
      button.classList.toggle("ul-faint", panel.only !== null && !own);
    }
  }

  function describe(panel, id, sure) {
    const entry = panel.entries.get(id);
    if (!entry) return [make("span", { class: "ul-quiet" }, "no label")];
    const parts = [make("i", { class: "ul-dot", style: `background:${rgb(entry.color)}` }),
      make("b", {}, entry.name)];
    if (sure !== null) parts.push(make("span", { class: "ul-quiet" }, `${percent(sure)} sure`));
    const list = make("dl", {});
    for (const [where, what] of entry.called) {
      list.append(make("dt", {}, where), make("dd", {}, what || "–"));
    }
    return [make("div", { class: "ul-line" }, ...parts), list];
  }

  function build(source, image) {
    const panel = { image, only: null, pinned: false,
      entries: new Map(source.entries.map((e) => [e.id, e])),
      colors: new Map(source.entries.map((e) => [e.id, e.color])) };
    panel.canvas = make("canvas", { width: image.width, height: image.height });
    panel.canvas.style.opacity = String(opacity);
    if (image.width < 700) panel.canvas.style.imageRendering = "pixelated";
    const photo = make("img", { src: payload.image, alt: payload.name, draggable: "false" });
    const frame = make("div", { class: "ul-frame", style: `aspect-ratio:${image.width}/${image.height};`
      + `max-width:calc(min(56vh, 600px) * ${image.width / image.height})` },
    photo, panel.canvas);
    panel.info = make("div", { class: "ul-spot" }, make("span", { class: "ul-quiet" },
      "Point at the picture, or tap it, to see what a pixel is."));
    panel.legend = make("div", { class: "ul-legend" }, ...source.entries.map((entry) => make("button",
      { type: "button", "data-id": entry.id, "aria-pressed": "false", title: "Show only this label",
        onclick: () => isolate(panel, entry.id) },
      make("i", { class: "ul-dot", style: `background:${rgb(entry.color)}` }),
      make("span", {}, entry.name), make("span", { class: "ul-quiet" }, percent(entry.share)))));
    const stem = `${payload.stem}_${source.stem}`;
    const json = "data:application/json;charset=utf-8,"
      + encodeURIComponent(JSON.stringify(source.record, null, 1));
    const downloads = make("div", { class: "ul-downloads" }, "Download",
      make("button", { type: "button", class: "ul-get-labels",
        onclick: () => save(`${stem}.png`, source.file || source.labels) }, "label PNG"),
      make("button", { type: "button", onclick: () => saveOverlay(panel, `${stem}_overlay.png`) },
        "overlay"),
      make("button", { type: "button", onclick: () => save(`${stem}.json`, json) }, "JSON"));
    const look = (event, pin) => {
      if (panel.pinned && !pin) return;
      const box = frame.getBoundingClientRect();
      const at = (value, length, count) => Math.min(count - 1, Math.max(0,
        Math.floor((value / length) * count)));
      const x = at(event.clientX - box.left, box.width, image.width);
      const y = at(event.clientY - box.top, box.height, image.height);
      let sure = null;
      if (panel.sure) {
        const { labels, width, height } = panel.sure;
        sure = labels[at(event.clientY - box.top, box.height, height) * width
          + at(event.clientX - box.left, box.width, width)] / 255;
      }
      panel.info.replaceChildren(...describe(panel, panel.labels[y * image.width + x], sure));
      if (pin) panel.pinned = true;
    };
    frame.addEventListener("pointermove", (event) => look(event, false));
    frame.addEventListener("pointerleave", () => { panel.pinned = false; });
    frame.addEventListener("click", (event) => { panel.pinned = false; look(event, true); });
    panel.node = make("section", { class: "ul-panel", "data-space": source.space },
      make("h3", {}, source.title), frame, panel.info, panel.legend, downloads);
    return panel;
  }

  async function update(next) {
    const turn = ++sequence;
    payload = next;
    notes.replaceChildren(...(next.notes || []).map(([kind, text]) => make("div",
      { class: `ul-note ul-${kind === "error" ? "error" : "info"}` }, text)));
    if (!next.image) return;
    const image = await load(next.image);
    const built = [];
    for (const source of next.panels) {
      const panel = build(source, image);
      panel.labels = ids(await load(source.labels), source.wide);
      if (source.confidence) {
        const map = await load(source.confidence);
        panel.sure = { labels: ids(map, false), width: map.width, height: map.height };
      }
      paint(panel);
      built.push(panel.node);
    }
    if (turn !== sequence) return; // a newer answer came while this one was being decoded
    bar.hidden = false;
    panels.classList.toggle("ul-two", built.length > 1);
    panels.replaceChildren(...built);
    panels.dataset.run = String(next.run);
  }

  return { update };
}
