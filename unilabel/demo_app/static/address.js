// Tab, picture and label space in the address of the page, for reload, Back and links:
// unilabelAddress() starts it. What is shown is told by the event unilabel-shown of the document,
// {picture, space}, each null where it has no name.
function unilabelAddress() {
  "use strict";
  const tabs = () => [...document.querySelectorAll('[role="tab"]')];
  const name = (tab) => tab.dataset.tabId;
  const chosen = () => tabs().find((tab) => tab.getAttribute("aria-selected") === "true");
  let applying = false;

  function write(changes, push) {
    const address = new URL(location.href);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === "") address.searchParams.delete(key);
      else address.searchParams.set(key, value);
    }
    if (address.href === location.href) return;
    history[push ? "pushState" : "replaceState"](history.state, "", address.href);
  }

  function apply() {
    const wanted = new URL(location.href).searchParams.get("tab");
    const tab = tabs().find((other) => name(other) === wanted) || tabs()[0];
    if (!tab || tab === chosen()) return;
    applying = true;
    tab.click();
    applying = false;
  }

  document.addEventListener("click", (event) => {
    const tab = event.target.closest && event.target.closest('[role="tab"]');
    if (!tab || applying) return;
    write({ tab: tabs().indexOf(tab) ? name(tab) : null }, true);
  }, true);
  addEventListener("popstate", apply);
  document.addEventListener("unilabel-shown", (event) => write(event.detail, false));
  const starting = setInterval(() => { // the tabs are drawn after this script has started
    if (!chosen()) return;
    clearInterval(starting);
    apply();
  }, 50);
}
