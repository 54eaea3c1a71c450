// Finds answers that got lost: window.unilabelPulses {ask, answered, use}, one for the page. Gradio
// ends the stream of answers when no question is open; one that is asked in this moment waits for the
// next question, which opens the stream again. "poke" is such a question, asked while another waits.
window.unilabelPulses = window.unilabelPulses || (() => {
  "use strict";
  const AFTER = 4000, MOST = 5; // milliseconds without an answer; questions about one that waits
  let since = performance.now(), tries = 0, poke = null, started = false;

  function ask(event) {
    if (event === "poke") return;
    since = performance.now();
    tries = 0;
  }

  // The page has started when its viewer has shown something, whatever else was answered before.
  function answered(id) {
    started = started || id === "viewer";
    if (started) since = 0;
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest('[role="tab"]')) ask("tab");
  }, true);
  document.addEventListener("change", (event) => {
    if (event.target.type === "file") ask("file");
  }, true);
  setInterval(() => {
    if (!since || !poke || tries >= MOST || performance.now() - since < AFTER) return;
    since = performance.now();
    tries += 1;
    poke();
  }, 500);
  return { ask, answered, use: (trigger) => { poke = () => trigger("poke", {}); } };
})();
