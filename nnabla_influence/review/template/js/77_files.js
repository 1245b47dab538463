// Decisions leave the page as a file, and come back from one.

const EXPORT_NAME = "decisions.csv";

function exportDecisions(review, decisions) {
  const blob = new Blob([decisionsCsv(review, decisions)], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(blob), download: EXPORT_NAME, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  decisions.markExported();
}

/** Reads a file of decisions; says what is wrong, or how many rows it decides. */
async function importDecisions(review, decisions, file) {
  let text;
  try {
    text = decodeText(await file.arrayBuffer());
  } catch {
    return announce(`${file.name} cannot be read.`);
  }
  const { changes, problems, isChecked } = readDecisions(review, text);
  if (problems.length) {
    const more = problems.length > 1 ? ` (${plural(problems.length - 1, "more line")} wrong)` : "";
    return showProblem(`${file.name}: ${problems[0]}${more}. Nothing was imported.`);
  }
  showProblem("");
  const same = changes.filter(
    ([position, kind, label]) => kind === RELABEL && isGivenLabel(review, position, label),
  );
  const kept = changes.filter((change) => !same.includes(change));
  decisions.decide(kept);
  const left = same.length
    ? ` ${plural(same.length, "row has", "rows have")} that label already.`
    : "";
  const note = isChecked ? "" : " It does not say which ranking it is about.";
  return announce(`${file.name}: ${plural(kept.length, "decision")} imported.${left}${note}`);
}

function showProblem(text) {
  const warning = byId("import-problem");
  warning.hidden = !text;
  warning.textContent = text;
  if (text) announce(text);
}

/** The command that uses the decisions; a name with spaces is quoted. */
function nextCommand(review) {
  const column =
    review.label && review.label !== "y" ? ` --label-column ${shellWord(review.label)}` : "";
  const ranking = shellWord(review.ranking);
  const decided = `--decisions ${EXPORT_NAME}`;
  return `nnabla-influence cleanse -i ${ranking} -o clean.csv ${decided}${column}`;
}

function shellWord(text) {
  if (/^[\w.,:+/-]+$/.test(text)) return text;
  return /["$`\\!]/.test(text) ? `'${text.replace(/'/g, "'\\''")}'` : `"${text}"`;
}

function setUpNext(review, decisions, classTable) {
  byId("next-ranking").textContent = review.ranking;
  byId("next-command").textContent = nextCommand(review);
  byId("copy-command").addEventListener("click", () => copyText(byId("next-command")));
  return function openNext() {
    const decided = decisions.decided().length;
    byId("next-done").textContent = decisions.unexported
      ? `${plural(decided, "decision")} made; export them first.`
      : decided
        ? `${EXPORT_NAME} holds ${plural(decided, "decision")}; ` +
          "your browser has saved it in its downloads."
        : "Nothing is decided yet.";
    const open = decisions.openProposals().length;
    if (open) byId("next-done").append(` ${plural(open, "proposal is", "proposals are")} not accepted.`);
    const emptied = classTable?.emptied() ?? [];
    byId("next-warning").hidden = !emptied.length;
    const more = emptied.length > 8 ? ` and ${grouped(emptied.length - 8)} more` : "";
    byId("next-warning").textContent =
      `${emptied.slice(0, 8).join(", ")}${more} would have no rows. The command refuses` +
      " that, unless you add --allow-empty-class.";
    openDialog(byId("next"));
  };
}

async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    announce("Copied.");
  } catch {
    getSelection().selectAllChildren(element);
    announce("Selected; copy it with Ctrl+C.");
  }
}
