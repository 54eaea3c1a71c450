// Progress and result of a longer job: unilabelJob(host) -> {update({lines, share, kind, name, url,
// pictures})}.
function unilabelJob(host) {
  "use strict";
  const { make } = unilabelDom;

  function update({ lines, share, kind, name, url, pictures }) {
    const box = make("div", { class: `ul-note ul-${kind === "error" ? "error" : "info"}`,
      role: "status" });
    box.append(...lines.map((line) => make("p", {}, line)));
    if (share !== null) {
      box.append(make("progress", { max: 1, value: share, "aria-label": "Done so far" }));
    }
    if (url) box.append(make("a", { href: url, download: name, class: "ul-save" }, `Save ${name}`));
    const row = make("div", { class: "ul-results" });
    row.append(...pictures.map((source) => make("img", { src: source, alt: "a result" })));
    host.replaceChildren(box, row);
    host.dataset.state = share !== null ? "running" : kind === "error" ? "error" : "done";
  }
  return { update };
}
