// Texts of an element with less contrast to what is behind them than asked for:
// (selector, least) -> [[text, ratio]]. Disabled controls and logotypes are exempt (WCAG 1.4.3).
(([selector, least]) => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function rgba(color) { // whatever way it is written: drawn, and read back
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  function behind(node) {
    const layers = [];
    for (let n = node; n; n = n.parentElement) {
      const color = rgba(getComputedStyle(n).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  }
  function luminance(color) {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92
      : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ratio(one, two) {
    const [a, b] = [luminance(one), luminance(two)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  }
  const bad = [];
  let seen = 0;
  const root = document.querySelector(selector);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || !node.getClientRects().length || node.closest(":disabled, title, select")) continue;
    const style = getComputedStyle(node), under = behind(node);
    const color = rgba(node instanceof SVGElement ? style.fill : style.color);
    for (let n = node; n && n !== root; n = n.parentElement) color[3] *= Number(getComputedStyle(n).opacity);
    const found = ratio(over(color, under), under);
    seen += 1;
    if (found < least) bad.push([text.slice(0, 40), Math.round(found * 100) / 100]);
  }
  for (const field of root.querySelectorAll("select, input")) {
    if (!field.getClientRects().length || field.disabled || /checkbox|color|range|file/.test(field.type)) continue;
    const under = behind(field), found = ratio(over(rgba(getComputedStyle(field).color), under), under);
    seen += 1;
    if (found < least) bad.push([field.getAttribute("aria-label"), Math.round(found * 100) / 100]);
  }
  return [seen, bad];
})
