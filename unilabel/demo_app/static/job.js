// Progress and result of a longer job: unilabelJob(host, trigger) -> {update({lines, share, kind,
// name, url, pictures})}; its event is "cancel". The nodes stay, so that a click meets its button.
function unilabelJob(host, trigger) {
  "use strict";
  const { make } = unilabelDom;
  const text = make("div", {});
  const bar = make("progress", { max: 1, "aria-label": "Done so far" });
  const stop = make("button", { type: "button", class: "ul-cancel", onclick: () => {
    stop.disabled = true;
    stop.textContent = "Cancelling …";
    trigger("cancel", {});
  } }, "Cancel");
  const place = make("div", {}), box = make("div", { class: "ul-note", role: "status" }, text);
  const running = make("div", { class: "ul-running" }, bar, stop);
  const row = make("div", { class: "ul-results" });
  box.append(running, place);

  function update({ lines, share, kind, name, url, pictures }) {
    const working = share !== null, film = url.startsWith("data:video/");
    box.className = `ul-note ul-${kind === "error" ? "error" : "info"}`;
    text.replaceChildren(...lines.map((line) => make("p", {}, line)));
    running.hidden = !working;
    if (working) bar.value = share;
    else {
      stop.disabled = false;
      stop.textContent = "Cancel";
    }
    place.replaceChildren(...(url ? [make("a", { href: url, download: name, class: "ul-save" },
      `Save ${name}`)] : []));
    row.replaceChildren(...pictures.map((source) => make("img", { src: source, alt: "a result" })));
    if (film) row.prepend(make("video", { src: url, controls: true, loop: true, muted: true,
      playsinline: true, "aria-label": name }));
    if (!box.isConnected) host.replaceChildren(make("div", { class: "ul-viewer" }, box, row));
    host.dataset.state = working ? "running" : kind === "error" ? "error" : "done";
  }
  return { update };
}
