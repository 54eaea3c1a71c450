// What the viewer draws with: unilabelFiles() -> pictures in, files out, unilabelPainting() -> pixels.
function unilabelFiles() {
  "use strict";
  function load(source) {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("picture"));
      image.src = source;
    });
  }

  function save(name, url) {
    const anchor = unilabelDom.make("a", { href: url, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  }

  return { load, save };
}

// A map is {ids, width, height, entries: [{id, rows, ...}], space, colors}.
function unilabelPainting() {
  "use strict";
  const differences = new WeakMap(); // map -> WeakMap of another map -> answer of difference()

  // Colour of each label id as four bytes; 0, transparent, where there is no label.
  function palette(entries) {
    const most = entries.reduce((found, { id }) => Math.max(found, id), 255);
    const bytes = new Uint8ClampedArray(4 * (most + 1));
    for (const { id, color } of entries) bytes.set([...color, 255], 4 * id);
    return new Uint32Array(bytes.buffer);
  }

  // {ids, id, pair} -> test of a pixel; null: all pixels are shown.
  function mask(only, pair) {
    if (!only && !pair) return null;
    const ids = only ? only.map.ids : null, id = only ? only.id : 0;
    const differs = pair ? pair.pixels : null;
    return (i) => (!ids || ids[i] === id) && (!differs || differs[i] === 1);
  }

  // The pixels of a map in colours; those of the whole map are kept, so that a change is a copy.
  function colours(map, shows) {
    if (!shows && map.plain) return map.plain;
    const image = new ImageData(map.width, map.height);
    const pixels = new Uint32Array(image.data.buffer), { ids, colors } = map;
    if (shows) {
      for (let i = 0; i < ids.length; i += 1) if (shows(i)) pixels[i] = colors[ids[i]];
    } else {
      for (let i = 0; i < ids.length; i += 1) pixels[i] = colors[ids[i]];
      map.plain = image;
    }
    return image;
  }

  function paint(canvas, map, shows) {
    canvas.getContext("2d").putImageData(colours(map, shows), 0, 0);
  }

  // Labels of a map that occur among the pixels that are shown.
  function inside(map, shows) {
    const found = new Set();
    for (let i = 0; i < map.ids.length; i += 1) if (shows(i)) found.add(map.ids[i]);
    return found;
  }

  // Pixels on which two maps of one picture do not agree. In one label space labels are compared; in
  // two, labels agree if a unified label stands for both. null: they cannot be compared.
  function difference(one, other) {
    if (one === other || one.ids.length !== other.ids.length) return null;
    const known = differences.get(one) || new WeakMap();
    differences.set(one, known);
    if (known.has(other)) return known.get(other);
    const same = one.space === other.space;
    if (!same && ![...one.entries, ...other.entries].some((entry) => entry.rows.length)) return null;
    const agree = new Map(one.entries.map((a) => [a.id, new Set(other.entries.filter((b) => (same
      ? a.id === b.id : a.rows.some((row) => b.rows.includes(row)))).map((b) => b.id))]));
    const pixels = new Uint8Array(one.ids.length);
    let count = 0;
    for (let i = 0; i < pixels.length; i += 1) {
      if (!agree.get(one.ids[i])?.has(other.ids[i])) { pixels[i] = 1; count += 1; }
    }
    const answer = { pixels, share: count / pixels.length };
    known.set(other, answer);
    return answer;
  }

  // The photo with a drawn label map over it, as an address for done().
  function overlay(photo, drawn, opacity, done) {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    [canvas.width, canvas.height] = [drawn.width, drawn.height];
    context.drawImage(photo, 0, 0, drawn.width, drawn.height);
    context.globalAlpha = opacity;
    context.drawImage(drawn, 0, 0);
    canvas.toBlob((blob) => {
      const url = URL.createObjectURL(blob);
      done(url);
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
  }

  return { palette, mask, colours, paint, inside, difference, overlay };
}
