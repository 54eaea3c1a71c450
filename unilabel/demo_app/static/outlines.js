// Outlines of the labels with their names, for whoever cannot tell their colours apart:
// unilabelOutlines(map, shows) -> canvas. A map is as in painting.js, shows(i) tells which pixels count.
function unilabelOutlines(map, shows) {
  "use strict";
  const WIDE = 900, LEAST = 9, FONT = 17; // pixels: of the canvas, room of a name, its letters
  const { ids, width, height } = map, f = Math.max(1, Math.ceil(WIDE / width));
  const canvas = unilabelDom.make("canvas", { class: "ul-outlines", width: f * width, height: f * height });
  const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), W = canvas.width, H = canvas.height;
  const BLACK = 0xff000000, WHITE = 0xffffffff;
  const seen = (i) => (shows && !shows(i) ? -1 : ids[i]);

  // a white line between black ones is seen on every colour
  for (let Y = 0; Y < H; Y += 1) {
    const row = Math.floor(Y / f) * width, below = Math.floor(Math.min(Y + 1, H - 1) / f) * width;
    for (let X = 0; X < W; X += 1) {
      const x = Math.floor(X / f), right = Math.floor(Math.min(X + 1, W - 1) / f), own = seen(row + x);
      if (own === seen(row + right) && own === seen(below + x)) continue;
      for (let dy = -1; dy <= 2; dy += 1) for (let dx = -1; dx <= 2; dx += 1) {
        const at = (Y + dy) * W + X + dx;
        if (X + dx < 0 || X + dx >= W || Y + dy < 0 || Y + dy >= H) continue;
        if (dx >= 0 && dx < 2 && dy >= 0 && dy < 2) pixels[at] = WHITE;
        else if (!pixels[at]) pixels[at] = BLACK;
      }
    }
  }
  pen.putImageData(image, 0, 0);

  // A name stands where its label is widest: the pixel that is farthest from any other label.
  const far = new Uint16Array(ids.length), best = new Map();
  const near = (i, j) => (seen(i) === seen(j) ? far[j] : 0);
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) {
    const i = y * width + x;
    far[i] = 1 + Math.min(x ? near(i, i - 1) : 0, y ? near(i, i - width) : 0);
  }
  for (let y = height - 1; y >= 0; y -= 1) for (let x = width - 1; x >= 0; x -= 1) {
    const i = y * width + x, id = seen(i);
    far[i] = Math.min(far[i], 1 + Math.min(x < width - 1 ? near(i, i + 1) : 0,
      y < height - 1 ? near(i, i + width) : 0));
    if (id >= 0 && far[i] > (best.get(id) || [0])[0]) best.set(id, [far[i], x, y]);
  }
  pen.font = `600 ${FONT}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = 4;
  canvas.names = [];
  for (const [id, [room, x, y]] of best) {
    const entry = map.byId.get(id);
    if (!entry || room * f < LEAST) continue;
    const half = pen.measureText(entry.name).width / 2 + 3;
    const at = [Math.min(W - half, Math.max(half, (x + 0.5) * f)), Math.min(H - FONT, Math.max(FONT, (y + 0.5) * f))];
    pen.strokeStyle = "#fff";
    pen.strokeText(entry.name, ...at);
    pen.fillStyle = "#000";
    pen.fillText(entry.name, ...at);
    canvas.names.push(entry.name);
  }
  return canvas;
}
