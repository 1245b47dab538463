// Forgetting, printing, and what the page remembers of itself.

function setUpForgetting(decisions, list) {
  const dialog = byId("forget-dialog");
  byId("forget").addEventListener("click", () => {
    dialog.returnValue = "";
    byId("forget-what").textContent =
      `${plural(decisions.decided().length, "decision")} will be taken back.` +
      " Undo brings them back while the page is open.";
    openDialog(dialog);
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    decisions.decide(decisions.decided().map((position) => [position, UNDECIDED, null]));
    announce("All decisions are forgotten.");
    list.focus();
  });
}

function setUpMeaning(storage) {
  const details = byId("meaning");
  details.open = recall(storage, "meaning") !== "closed";
  details.addEventListener("toggle", () =>
    remember(storage, "meaning", details.open ? "open" : "closed"),
  );
}

/** For speech input the keys of one letter can be turned off. */
function setUpLetters(storage) {
  const box = byId("letters");
  box.checked = recall(storage, "letters") !== "off";
  box.addEventListener("change", () => remember(storage, "letters", box.checked ? "on" : "off"));
}

const PRINTED = 500;

/** Prints the rows shown, since the list holds only those in sight. */
function setUpPrinting(review, decisions, view) {
  addEventListener("beforeprint", () => {
    const rows = Array.from(view.shown.subarray(0, PRINTED));
    const left = view.shown.length - rows.length;
    const titles = "Rank,Row,Picture,Given,Predicted,Influence,Loss,Decision".split(",");
    const heading = plural(view.shown.length, "row") + (left ? `, the first ${PRINTED} of them` : "");
    const table = make("table");
    const lines = rows.map((position) => printedCells(review, decisions, position));
    fillTable(table, titles, lines);
    byId("printed").replaceChildren(make("h2", {}, heading), table);
  });
  addEventListener("afterprint", () => byId("printed").replaceChildren());
}

function printedCells(review, decisions, position) {
  const pictures = (review.thumbnails[position] ?? [])
    .filter(Boolean)
    .map((source) => make("img", { src: source, alt: "" }));
  return [
    grouped(position + 1),
    String(review.index[position]),
    pictures,
    labelText(review, review.given, position),
    labelText(review, review.predicted, position),
    `${signWord(review, position)} ${shortNumber(review.influence[position])}`,
    review.loss ? shortNumber(review.loss[position]) : "–",
    decisionText(review, decisions, position),
  ];
}
