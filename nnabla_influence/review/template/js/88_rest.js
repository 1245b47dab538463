// Forgetting, leaving, printing, and what the page remembers of itself.

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

/** Whoever speaks to the computer turns the keys of one letter off, once. */
function setUpLetters(storage) {
  const box = byId("letters");
  box.checked = recall(storage, "letters") !== "off";
  box.addEventListener("change", () => remember(storage, "letters", box.checked ? "on" : "off"));
}

/** Where nothing is kept, the browser asks before decisions are lost. */
function setUpLeaving(decisions) {
  addEventListener("beforeunload", (event) => {
    if (decisions.storage === null && decisions.unexported) event.preventDefault();
  });
}

const PRINTED = 500;

/** On paper stand the rows shown, since the list holds only those in sight. */
function setUpPrinting(review, decisions, view) {
  addEventListener("beforeprint", () => {
    const rows = Array.from(view.shown.subarray(0, PRINTED));
    const left = view.shown.length - rows.length;
    const titles = [
      "Rank",
      "Row",
      "Picture",
      "Given",
      "Predicted",
      "Influence",
      "Loss",
      "Decision",
    ];
    byId("printed").replaceChildren(
      make(
        "h2",
        {},
        `${plural(view.shown.length, "row")}${left ? `, the first ${PRINTED} of them` : ""}`,
      ),
      make(
        "table",
        {},
        make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", {}, title)))),
        make("tbody", {}, ...rows.map((position) => printedRow(review, decisions, position))),
      ),
    );
  });
  addEventListener("afterprint", () => byId("printed").replaceChildren());
}

function printedRow(review, decisions, position) {
  const pictures = (review.thumbnails[position] ?? [])
    .filter(Boolean)
    .map((source) => make("img", { src: source, alt: "" }));
  const cells = [
    [grouped(position + 1)],
    [String(review.index[position])],
    pictures,
    [labelText(review, review.given, position)],
    [labelText(review, review.predicted, position)],
    [`${signWord(review, position)} ${shortNumber(review.influence[position])}`],
    [review.loss ? shortNumber(review.loss[position]) : "–"],
    [decisionText(review, decisions, position)],
  ];
  return make("tr", {}, ...cells.map((content) => make("td", {}, ...content)));
}
