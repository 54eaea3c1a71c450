// Progress and result of a video: unilabelVideo(host) -> {update({text, share, url, name})}.
function unilabelVideo(host) {
  "use strict";
  function update({ text, share, url, name }) {
    const line = document.createElement("p");
    line.textContent = text;
    line.setAttribute("role", "status");
    const parts = [line];
    if (share !== null && share < 1) {
      const bar = document.createElement("progress");
      bar.max = 1;
      bar.value = share;
      parts.push(bar);
    }
    if (url) {
      const video = document.createElement("video"), save = document.createElement("a");
      Object.assign(video, { src: url, controls: true, loop: true, muted: true, playsInline: true });
      Object.assign(save, { href: url, download: name, textContent: "Save the video" });
      parts.push(video, save);
    }
    host.replaceChildren(...parts);
  }
  return { update };
}
