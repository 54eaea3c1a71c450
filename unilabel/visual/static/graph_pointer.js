// Moves and zooms a label graph: unilabelGraphPointer(canvas, {zoom, size, apply, at, height, tap}).
function unilabelGraphPointer(canvas, { zoom, apply, at, height, tap }) {
  const pointers = new Map();
  let drag = null;

  canvas.addEventListener("wheel", (event) => {
    const box = canvas.getBoundingClientRect(), view = at();
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0025), event.clientX - box.left, event.clientY - box.top);
      return;
    }
    const lowest = Math.min(0, box.height - height() * view.k), old = view.y;
    view.y = Math.min(Math.max(0, old), Math.max(Math.min(lowest, old), old - event.deltaY));
    view.x -= event.deltaX;
    if (view.y !== old || event.deltaX) event.preventDefault(); // at the end the page scrolls on
    apply();
  }, { passive: false });

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    drag = { x: event.clientX, y: event.clientY, moved: false, target: event.target };
  });

  canvas.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId), view = at();
    if (!old || !drag) return;
    const now = [event.clientX, event.clientY], box = canvas.getBoundingClientRect();
    if (Math.hypot(now[0] - drag.x, now[1] - drag.y) > 4 && !drag.moved) {
      drag.moved = true;
      canvas.setPointerCapture(event.pointerId);
    }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(old[0] - other[0], old[1] - other[1]);
      const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
      if (before > 0) zoom(after / before, (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
      drag.moved = true;
    } else if (drag.moved) {
      view.x += now[0] - old[0];
      view.y += now[1] - old[1];
      apply();
    }
    pointers.set(event.pointerId, now);
  });

  function release(event) {
    pointers.delete(event.pointerId);
    if (drag && !drag.moved && event.type === "pointerup") tap(drag.target);
    if (!pointers.size) drag = null;
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
}
