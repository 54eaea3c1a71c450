// Further label maps for the viewer of the Predict tab: unilabelMore(host, trigger) -> {update(more)}.
// Being in every page and never seen, it also asks after answers that got lost, see pulse.js.
function unilabelMore(host, trigger) {
  "use strict";
  window.unilabelPulses.use(trigger);
  return { update: (more) => document.querySelector("#viewer .ul-host")?.unilabel?.add(more) };
}
