// Hands a file to the browser: unilabelDownload() -> {update({name, url})}.
function unilabelDownload() {
  "use strict";
  function update(file) {
    if (!file.url) return;
    const anchor = document.createElement("a");
    anchor.href = file.url;
    anchor.download = file.name;
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
  }
  return { update };
}
