// What all scripts of the pages share: unilabelDom. All texts are set as text, never as markup.
const unilabelDom = (() => {
  "use strict";
  function filled(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  const make = (tag, attributes, ...children) =>
    filled(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const rgb = (c) => `rgb(${c[0]},${c[1]},${c[2]})`;
  const dot = (color) => make("i", { class: "ul-dot",
    style: `background:${Array.isArray(color) ? rgb(color) : color}` });
  const percent = (value) => (value > 0 && value < 0.0005 ? "under 0.1"
    : (100 * value).toFixed(value < 0.1 ? 1 : 0)) + "\u00a0%";
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
  const visible = (node) => node.getClientRects().length > 0;
  const typing = (node) => node.matches("input[type=text], input[type=search], textarea");

  // Make the children of a node these ones; nodes that are there already are not touched.
  function settle(parent, wanted) {
    const kept = new Set(wanted);
    for (const child of [...parent.childNodes]) if (!kept.has(child)) child.remove();
    wanted.forEach((node, index) => {
      if (parent.childNodes[index] !== node) parent.insertBefore(node, parent.childNodes[index] || null);
    });
  }

  return { make, svg, rgb, dot, percent, words, plural, visible, typing, settle };
})();
