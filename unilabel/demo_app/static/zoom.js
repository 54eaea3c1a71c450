// One zoom for all frames of a viewer: unilabelZoom(changed) -> {state, attach(frame), reset, by, at}.
// state {k, x, y}: magnification and the fraction of the picture at the left and upper edge. Wheel
// and pinch zoom, a drag moves what is magnified; changed() redraws.
function unilabelZoom(changed) {
  "use strict";
  const MOST = 24, STILL = 4; // largest magnification; pixels that a click may move
  const state = { k: 1, x: 0, y: 0 };

  function set(k, x, y) {
    state.k = Math.min(MOST, Math.max(1, k));
    const room = 1 - 1 / state.k, keep = (value) => Math.min(room, Math.max(0, value));
    [state.x, state.y] = [keep(x), keep(y)];
    changed();
  }

  // Magnify around the point (fx, fy) of the frame, in fractions of its sides.
  function by(factor, fx = 0.5, fy = 0.5) {
    const k = Math.min(MOST, Math.max(1, state.k * factor));
    set(k, state.x + fx / state.k - fx / k, state.y + fy / state.k - fy / k);
  }

  // Fractions of the picture at a place of the screen.
  function at(frame, event) {
    const box = frame.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return { x: inside(state.x + (event.clientX - box.left) / box.width / state.k),
      y: inside(state.y + (event.clientY - box.top) / box.height / state.k) };
  }

  function attach(frame) {
    const touches = new Map();
    let moved = 0, last = null;
    const share = (point) => {
      const box = frame.getBoundingClientRect();
      return [(point.x - box.left) / box.width, (point.y - box.top) / box.height];
    };
    const spread = () => {
      const [a, b] = [...touches.values()];
      return { far: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    frame.addEventListener("wheel", (event) => {
      if (event.deltaY > 0 && state.k === 1) return; // nothing to shrink: the page may scroll
      event.preventDefault();
      const lines = event.deltaMode ? 30 : 1;
      by(Math.exp(-0.002 * lines * event.deltaY), ...share({ x: event.clientX, y: event.clientY }));
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
      moved = 0;
      last = touches.size === 2 ? spread() : { x: event.clientX, y: event.clientY };
    });
    frame.addEventListener("pointermove", (event) => {
      if (!touches.has(event.pointerId)) return;
      touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const next = touches.size === 2 ? spread() : { x: event.clientX, y: event.clientY };
      const box = frame.getBoundingClientRect();
      moved += Math.hypot(next.x - last.x, next.y - last.y) + (touches.size === 2 ? STILL : 0);
      if (touches.size === 2) by(next.far / Math.max(1, last.far), ...share(next));
      if (state.k > 1 && moved > STILL) {
        set(state.k, state.x - (next.x - last.x) / box.width / state.k,
          state.y - (next.y - last.y) / box.height / state.k);
      }
      last = next;
    });
    for (const kind of ["pointerup", "pointercancel", "pointerleave"]) {
      frame.addEventListener(kind, (event) => {
        touches.delete(event.pointerId);
        last = [...touches.values()][0] || null;
      });
    }
    // a drag is no click
    frame.addEventListener("click", (event) => {
      if (moved > STILL) event.stopImmediatePropagation();
      moved = 0;
    });
  }

  return { state, attach, by, at, set, reset: () => set(1, 0, 0) };
}
