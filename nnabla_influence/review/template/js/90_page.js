// Puts the parts together.

function showFacts(review) {
  const parts = [plural(review.rowCount, "row")];
  if (review.classes.length)
    parts.push(plural(review.classRows.filter((rows) => rows > 0).length, "class", "classes"));
  const harmful = review.influence.reduce((sum, value) => sum + (value < 0), 0);
  parts.push(`${grouped(harmful)} harmful`);
  if (review.method) parts.push(`method ${review.method}${review.why && ` (${review.why})`}`);
  if (review.orders) parts.push(`orders ${review.orders}`);
  if (review.verdict) parts.push(review.verdict.word);
  byId("facts").textContent = parts.join(" · ");
  byId("verdict").hidden = review.verdict?.word !== "rough";
  byId("verdict").textContent = review.verdict?.sentence ?? "";
}

function setUpTheme(storage) {
  const select = byId("theme");
  const show = () => {
    if (select.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
  };
  const kept = recall(storage, "theme");
  if (["light", "dark"].includes(kept)) select.value = kept;
  select.addEventListener("change", () => {
    remember(storage, "theme", select.value);
    show();
  });
  show();
}

/** The size of the pictures. */
function setUpSize(review, storage, list) {
  const slider = byId("size");
  const pictures = Math.min(review.image_columns.length, MOST_PICTURES);
  byId("size-field").hidden = pictures === 0;
  const show = () => {
    document.documentElement.style.setProperty("--thumb", `${slider.value}px`);
    document.documentElement.style.setProperty("--pictures", pictures);
    slider.setAttribute("aria-valuetext", `${slider.value} pixels`);
  };
  slider.value = recall(storage, "size") ?? slider.value;
  show();
  slider.addEventListener("input", () => {
    const position = list.activePosition;
    show();
    remember(storage, "size", slider.value);
    list.resize();
    if (position >= 0) list.bringIntoSight(list.active);
    list.paint();
  });
}

function showKeeping(decisions) {
  const forbidden = decisions.storage === null;
  byId("kept-where").textContent = keptWhere(decisions);
  byId("storage-warning").hidden = !forbidden;
  byId("storage-warning").textContent =
    "This browser does not let the page keep your decisions. Export them before" +
    " you close it, and import them the next time.";
}

function showProgress(review, decisions) {
  const [, keep, remove, relabel] = decisions.count();
  const decided = keep + remove + relabel;
  byId("progress").textContent = `${grouped(decided)} of ${grouped(review.rowCount)} decided`;
  const counted = Object.entries({ keep, remove, relabel }).map(([word, count]) =>
    span(`count ${word}`, make("b", {}, grouped(count)), ` ${word}`),
  );
  const state = decided === 0 ? "" : decisions.unexported ? "not exported yet" : "exported";
  byId("counts").replaceChildren(...counted, span("count saved", state));
  byId("undo").disabled = decisions.past.length === 0;
  byId("forget").disabled = decided === 0;
  byId("export").disabled = decided === 0;
}

/** Says how many proposals wait; gone when each is accepted or decided otherwise. */
function showProposals(decisions) {
  const open = decisions.openProposals();
  byId("proposals").hidden = !open.length;
  const counted = [KEEP, REMOVE, RELABEL]
    .map((kind) => [open.filter((change) => change[1] === kind).length, DECISION_WORDS[kind]])
    .filter(([count]) => count);
  byId("proposals-count").textContent =
    `${plural(open.length, "proposal")} to decide on: ` +
    counted.map(([count, word]) => `${grouped(count)} ${word}`).join(", ");
}

function start() {
  const review = readReview(byId("review-data"));
  review.largest =
    Math.max(Math.abs(review.influence[0]), Math.abs(review.influence[review.rowCount - 1])) || 1;
  const storage = openStorage();
  const decisions = new Decisions(review, storage);
  const view = new View(review, decisions);
  setUpTheme(storage);
  showFacts(review);
  const list = new List(review, decisions, view);
  setUpSize(review, storage, list);
  setUpSorting(review, view, list);

  const actions = new Actions({ review, decisions, view, list });
  const histogram = new Histogram(review, (from, to) => filters.setRange(from, to));
  const classTable =
    review.hasClasses && review.given
      ? new ClassTable(review, decisions, (label) => filters.toggle("given", label))
      : null;
  const groupTable = review.groups
    ? new GroupTable(review.groups, (group) => filters.toggle("group", group))
    : null;
  const openNext = setUpNext(review, decisions, classTable);

  function showCount() {
    const { length } = view.shown;
    byId("shown").textContent = view.isFiltered()
      ? `${grouped(length)} of ${grouped(review.rowCount)} shown`
      : `all ${grouped(review.rowCount)} shown`;
    byId("select-all").setAttribute("aria-label", `Select all ${grouped(length)} shown`);
    byId("select-all").disabled = length === 0;
    histogram.show(view.shown, view.filter);
    classTable?.showChosen(view.filter.given);
    groupTable?.showChosen(view.filter.group);
  }

  const filters = new Filters(review, view, () => {
    view.refresh();
    list.selectNone();
    list.reload({ keep: "top" });
    showCount();
    clearTimeout(filters.saying);
    filters.saying = setTimeout(() => announce(`${plural(view.shown.length, "row")} shown.`), 400);
  });

  decisions.whenChanged = () => {
    if (view.filter.decision !== null) {
      view.refresh();
      list.reload();
      showCount();
    } else list.refreshDecisions();
    classTable?.refresh();
    showProgress(review, decisions);
    showProposals(decisions);
    showDetail(review, decisions, list.activePosition);
  };
  decisions.whenLost = () => showKeeping(decisions);
  list.whenMoved = () => showDetail(review, decisions, list.activePosition);
  list.whenSelected = (count) => {
    byId("bulk").hidden = count === 0;
    byId("bulk-count").textContent = `${grouped(count)} selected`;
    if (count) announce(`${plural(count, "row")} selected.`);
  };

  const openHelp = () => openDialog(byId("help"));
  const openRow = () => {
    if (list.length) openDetail(review, decisions, list.activePosition);
  };
  const runExport = () => {
    if (!decisions.decided().length) return announce("Nothing is decided yet.");
    exportDecisions(review, decisions);
    announce(`${plural(decisions.decided().length, "decision")} exported.`);
    return openNext();
  };
  setUpKeys(actions, list, { openHelp, openRow, runExport });
  setUpMouse(actions, list, openRow);

  const onClick = (id, action) => byId(id).addEventListener("click", action);
  const inList = (action) => () => {
    action();
    list.focus();
  };
  onClick("open-help", openHelp);
  onClick("open-next", openNext);
  onClick("export", runExport);
  onClick("undo", () => actions.undo());
  onClick("show-proposals", () => {
    view.filter.decision = PROPOSED;
    filters.changed();
  });
  onClick("accept-all", inList(() => actions.accept(decisions.openProposals().map(([p]) => p))));
  onClick("select-all", inList(() => list.selectAll()));
  onClick("select-none", inList(() => list.selectNone()));
  onClick("skip", (event) => {
    event.preventDefault();
    list.focus();
  });
  onClick("import", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) await importDecisions(review, decisions, file);
    event.target.value = "";
  });
  byId("bulk").addEventListener("click", (event) => {
    const button = event.target.closest("[data-decide]");
    if (!button) return;
    list.focus();
    actions.decide(Number(button.dataset.decide));
  });
  for (const button of byId("bulk").querySelectorAll('[data-decide="3"]'))
    button.hidden = !review.canRelabel;
  byId("bulk-accept").hidden = !review.proposed.size;
  setUpForgetting(decisions, list);
  setUpMeaning(storage);
  setUpLetters(storage);
  guardDecisions(decisions);
  setUpPrinting(review, decisions, view);

  showKeeping(decisions);
  showProgress(review, decisions);
  showProposals(decisions);
  filters.changed();
  clearTimeout(filters.saying);
  document.documentElement.dataset.ready = "yes";
}

start();
