// Small helpers for the document. Text is always set as text, never as HTML.

function byId(id) {
  return document.getElementById(id);
}

/** Makes an element: properties, attributes (names with a hyphen, `role`), children. */
function make(tag, settings = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name === "role" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function span(className, ...children) {
  return make("span", { className }, ...children);
}

/** Fills a table with lines of cells, below their titles. */
function fillTable(table, titles, lines) {
  const line = (tag, cells, settings) =>
    make("tr", {}, ...cells.map((cell) => make(tag, settings, ...[cell].flat())));
  table.replaceChildren(
    make("thead", {}, line("th", titles, { scope: "col" })),
    make("tbody", {}, ...lines.map((cells) => line("td", cells, {}))),
  );
}

function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Says something to screen readers, and shows it for a moment. */
function announce(text) {
  const announcer = byId("announcer");
  // The same words twice are said twice.
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
  const toast = byId("toast");
  toast.textContent = text;
  toast.classList.add("seen");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => toast.classList.remove("seen"), 3000);
}

function isTyping(target) {
  return (
    target instanceof HTMLElement &&
    (target.matches("input:not([type=checkbox]):not([type=range]), textarea, select") ||
      target.isContentEditable)
  );
}

/** Opens a dialog; when it closes, the focus is again on what had it, if nothing else took it. */
function openDialog(dialog) {
  const before = document.activeElement;
  dialog.showModal();
  dialog.addEventListener(
    "close",
    () => {
      const isLost = document.activeElement === document.body;
      if (isLost && before instanceof HTMLElement && before.isConnected) before.focus();
    },
    { once: true },
  );
}
