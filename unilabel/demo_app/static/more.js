// Further label maps for the viewer of the Predict tab: unilabelMore() -> {update(more)}.
function unilabelMore() {
  "use strict";
  return { update: (more) => document.querySelector("#viewer .ul-host")?.unilabel?.add(more) };
}
