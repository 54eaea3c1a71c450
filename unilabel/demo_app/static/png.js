// Ids of a PNG: unilabelPng(address) -> Promise of {ids, width, height}. A browser draws pictures as
// colours; this reads the values themselves, of 8 bits (grey or palette) or 16 bits (grey).
async function unilabelPng(address) {
  "use strict";
  const file = new Uint8Array(await (await fetch(address)).arrayBuffer());
  const view = new DataView(file.buffer);
  let width = 0, height = 0, bytes = 1;
  const parts = [];
  for (let at = 8; at < file.length;) {
    const length = view.getUint32(at), kind = String.fromCharCode(...file.subarray(at + 4, at + 8));
    const data = at + 8;
    if (kind === "IHDR") {
      [width, height] = [view.getUint32(data), view.getUint32(data + 4)];
      const [depth, color, interlaced] = [file[data + 8], file[data + 9], file[data + 12]];
      if (![8, 16].includes(depth) || ![0, 3].includes(color) || interlaced) {
        throw new Error("expected a PNG of 8 or 16 bits with one channel");
      }
      bytes = depth / 8;
    }
    if (kind === "IDAT") parts.push(file.subarray(data, data + length));
    at = data + length + 4;
  }
  const inflated = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(inflated).arrayBuffer());
  const row = width * bytes, plain = new Uint8Array(row * height);
  for (let y = 0; y < height; y += 1) {
    unfilter(raw[y * (row + 1)], raw.subarray(y * (row + 1) + 1, (y + 1) * (row + 1)),
      plain.subarray(y * row, (y + 1) * row), y ? plain.subarray((y - 1) * row, y * row) : null);
  }
  if (bytes === 1) return { ids: plain, width, height };
  const ids = new Uint16Array(width * height);
  for (let i = 0; i < ids.length; i += 1) ids[i] = 256 * plain[2 * i] + plain[2 * i + 1];
  return { ids, width, height };

  // The five filters of a row of PNG (RFC 2083, section 6); `above` is the row before, without one 0.
  function unfilter(kind, from, to, above) {
    if (kind === 0) { to.set(from); return; }
    for (let i = 0; i < from.length; i += 1) {
      const left = i < bytes ? 0 : to[i - bytes], up = above ? above[i] : 0;
      const corner = above && i >= bytes ? above[i - bytes] : 0;
      let guess = up;
      if (kind === 1) guess = left;
      if (kind === 3) guess = (left + up) >> 1;
      if (kind === 4) {
        const sum = left + up - corner;
        const far = [Math.abs(sum - left), Math.abs(sum - up), Math.abs(sum - corner)];
        guess = far[0] <= far[1] && far[0] <= far[2] ? left : far[1] <= far[2] ? up : corner;
      }
      to[i] = from[i] + guess;
    }
  }
}
