// A row of pictures to choose from: unilabelPick(host, trigger) -> {update(pictures)}, where
// pictures is [{name, image}]. Tells the server through trigger("pick", {index}).
function unilabelPick(host, trigger) {
  "use strict";
  function update(pictures) {
    host.replaceChildren(...pictures.map(({ name, image }, index) => {
      const picture = document.createElement("img"), button = document.createElement("button");
      picture.src = image;
      picture.alt = name;
      button.type = "button";
      button.title = name;
      button.append(picture);
      button.addEventListener("click", () => trigger("pick", { index }));
      return button;
    }));
    host.className = "ul-host ul-pick";
  }
  return { update };
}
