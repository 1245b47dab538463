// The keyboard and the mouse in the list.

const KEYS = [
  ["↓ ↑, N P", "next row, previous row"],
  ["Page Down, Page Up, Home, End", "move further"],
  ["K", "keep"],
  ["X", "remove"],
  ["R", "relabel: choose the new label"],
  ["A", "accept what is proposed"],
  ["Delete", "undecided again"],
  ["U, Ctrl+Z", "undo the last decision"],
  ["Space", "select or deselect the row"],
  ["Shift with ↓ ↑", "select several"],
  ["Ctrl+A", "select all rows shown"],
  ["Esc", "clear the selection"],
  ["Enter", "show the whole row"],
  ["/", "search"],
  ["E", "export the decisions"],
  ["?", "show this help"],
];

function setUpKeys(actions, list, { openHelp, openRow, runExport }) {
  const shown = (keys) => keys.split(", ").flatMap((key) => [make("kbd", {}, key), " "]);
  const used = KEYS.filter(([key]) => key !== "A" || actions.review.proposed.size);
  const lines = used.map(([keys, words]) => [shown(keys), words]);
  fillTable(byId("keys"), ["key", "does"], lines);

  const letters = {
    k: () => actions.decide(KEEP),
    x: () => actions.decide(REMOVE),
    r: () => actions.decide(RELABEL),
    a: () => actions.decide(PROPOSED),
    u: () => actions.undo(),
    n: () => list.moveTo(list.active + 1),
    p: () => list.moveTo(list.active - 1),
    e: () => runExport(),
  };
  const others = {
    Delete: () => actions.decide(UNDECIDED),
    Backspace: () => actions.decide(UNDECIDED),
    " ": () => list.toggle(list.active),
    Escape: () => list.selectNone(),
    Enter: () => openRow(),
  };

  list.grid.addEventListener("keydown", (event) => {
    const onButton = event.target.closest("button");
    if (onButton && (event.key === " " || event.key === "Enter")) return;
    if (onButton?.closest(".head")) return;
    const done =
      moveByKey(list, event) ||
      commandByKey(event, list, actions) ||
      (isPlain(event) && (letterAction(letters, event) || run(others[event.key])));
    if (done) event.preventDefault();
  });

  // Also where no row has the focus, as when the list is empty.
  const everywhere = {
    "/": () => byId("search").focus(),
    "?": () => openHelp(),
    u: letters.u,
    e: letters.e,
  };
  document.addEventListener("keydown", (event) => {
    const isElsewhere = isTyping(event.target) || document.querySelector("dialog[open]");
    if (event.defaultPrevented || isElsewhere) return;
    const isUndo = event.key.toLowerCase() === "z" && commandByKey(event, list, actions);
    if (isUndo || (isPlain(event) && letterAction(everywhere, event))) event.preventDefault();
  });

  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    list.focus();
    event.preventDefault();
  });
}

function isPlain(event) {
  return !event.ctrlKey && !event.metaKey && !event.altKey;
}

function run(action) {
  if (!action) return false;
  action();
  return true;
}

function letterAction(letters, event) {
  return byId("letters").checked && run(letters[event.key.toLowerCase()]);
}

function moveByKey(list, event) {
  if (!isPlain(event)) return false;
  const page = Math.max(1, Math.floor(list.sight / list.rowHeight) - 1);
  const target = {
    ArrowDown: list.active + 1,
    ArrowUp: list.active - 1,
    PageDown: list.active + page,
    PageUp: list.active - page,
    Home: 0,
    End: list.length - 1,
  }[event.key];
  if (target === undefined) return false;
  list.moveTo(target, { extend: event.shiftKey });
  return true;
}

function commandByKey(event, list, actions) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return false;
  return run({ a: () => list.selectAll(), z: () => actions.undo() }[event.key.toLowerCase()]);
}

/** Clicks: on a button decides, on a row goes there; with shift or ctrl selects. */
function setUpMouse(actions, list, openRow) {
  const rowOf = (event) => event.target.closest(".grid-body .row")?.row;
  list.body.addEventListener("mousedown", (event) => {
    if (event.shiftKey) event.preventDefault(); // no text is marked
  });
  list.body.addEventListener("click", (event) => {
    const row = rowOf(event);
    if (!row) return;
    const button = event.target.closest("[data-decide]");
    if (button) {
      pressDecision(actions, list, row, Number(button.dataset.decide));
      return;
    }
    list.moveTo(row.index, { extend: event.shiftKey });
    if (event.ctrlKey || event.metaKey || event.target.closest(".rank")) list.toggle(row.index);
  });
  list.body.addEventListener("dblclick", (event) => {
    if (rowOf(event) && !event.target.closest("button, .rank")) openRow();
  });
}

/** A second press of a button takes its decision back. */
function pressDecision(actions, list, row, kind) {
  const { position } = row;
  list.moveTo(row.index);
  const isPressed = kind !== RELABEL && actions.decisions.kind[position] === kind;
  actions.decide(isPressed ? UNDECIDED : kind, [position]);
}
