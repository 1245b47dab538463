// The decisions as a CSV, out and in again.

const HEADER = ["datasource_index", "decision", "label"];

/** What is decided, and beside it what ties each line to its row. */
function decisionsCsv(review, decisions) {
  const own = exportedColumns(review);
  const titles = [
    "influence",
    ...(review.given ? ["given"] : []),
    ...own.map(({ title }) => title),
  ];
  const lines = decisions
    .decided()
    .map((position) => [
      String(review.index[position]),
      DECISION_WORDS[decisions.kind[position]],
      decisions.label(position) ?? "",
      String(review.influence[position]),
      ...(review.given ? [givenCell(review, position)] : []),
      ...own.map(({ cell }) => cell(position)),
    ]);
  const text = [[...HEADER, ...titles], ...lines].map(csvLine);
  // Where a cell is not ASCII, spreadsheets need the byte-order mark.
  const mark = text.some((line) => /[^\x00-\x7f]/.test(line)) ? "\uFEFF" : "";
  return `${mark}${text.join("\n")}\n`;
}

/** Reads decisions: {changes, problems: [line of text, ...]}. */
function readDecisions(review, text) {
  const { names, lines, missing } = readTable(text, HEADER.slice(0, 2));
  if (missing) {
    const problem = `it has no column ${missing.join(" and no column ")} in its first line`;
    return { changes: [], problems: [problem] };
  }
  const columns = { index: names.indexOf(HEADER[0]), decision: names.indexOf(HEADER[1]) };
  columns.label = names.indexOf(HEADER[2], columns.decision);
  if (columns.label < 0) columns.label = names.lastIndexOf(HEADER[2]);
  // With a label column of its own the dataset may stand there, each row with its label.
  columns.labelsMayBeOld =
    review.label === HEADER[2] ||
    ownColumns(review).some(({ name }) => plainWord(name) === HEADER[2]);
  const changes = new Map();
  const decided = [];
  const problems = [];
  for (const { number, cells } of lines) {
    const word = plainWord(cells[columns.decision] ?? "");
    const position = word ? positionOfCell(review, cells[columns.index]) : undefined;
    if (position !== undefined) decided.push({ number, cells, position });
    const read = readDecision(review, columns, cells, word, position);
    if (typeof read === "string") problems.push([number, read]);
    else if (read) {
      const before = changes.get(position);
      if (!before) changes.set(position, { number, read });
      else if (String(before.read) !== String(read)) {
        const row = review.index[position];
        problems.push([number, `line ${before.number} decides otherwise about row ${row}`]);
      }
    }
  }
  const contradictions = findContradictions(review, names, decided);
  const said = (contradictions.length ? contradictions : problems).sort((a, b) => a[0] - b[0]);
  return {
    changes: [...changes.values()].map(({ read }) => read),
    problems: said.map(([number, problem]) => `line ${number}: ${problem}`),
  };
}

/** Whole numbers as they are; with another point than in 4.0 it may be 4.000 for 4000. */
function positionOfCell(review, cell) {
  const text = (cell ?? "").normalize("NFKC").trim();
  return /^\d+(\.0)?$/.test(text) ? review.positionOf.get(Number(text)) : undefined;
}

/** One line: a change, null where nothing is decided, or what is wrong with it. */
function readDecision(review, columns, cells, word, position) {
  const label = (cells[columns.label] ?? "").normalize("NFKC").trim();
  const isNew = label && !columns.labelsMayBeOld;
  if (!word) return isNew ? `the label “${label}” has no decision beside it` : null;
  const kind = DECISION_WORDS.indexOf(word);
  if (kind < KEEP) return `“${word}” is none of keep, remove and relabel`;
  if (position === undefined) return `“${cells[columns.index] ?? ""}” is no row of this ranking`;
  if (kind === KEEP && isNew && isOtherLabel(review, position, label))
    return `“${label}” is not the row's label, but the decision beside it is keep`;
  if (kind !== RELABEL) return [position, kind, null];
  const checked = checkLabel(review, label);
  return checked.problem ?? [position, kind, checked.value];
}

/** A new label as the dataset writes it: {value} or {problem}. Names of classes are none. */
function checkLabel(review, text) {
  const plain = text.normalize("NFKC").trim();
  if (!plain) return { problem: "the new label is missing" };
  const number = parseNumber(plain);
  if (!review.hasClasses) {
    return Number.isFinite(number)
      ? { value: plain.replace(/−/g, "-") }
      : { problem: `“${plain}” is no number` };
  }
  const found = review.classes.find(
    ({ value }, label) => review.classRows[label] > 0 && parseNumber(value) === number,
  );
  return found ? { value: found.value } : { problem: `“${plain}” is no class of the given labels` };
}

/** Whether a new label is the one that the row has already. */
function isGivenLabel(review, position, value) {
  const given = givenCell(review, position);
  return given === value || parseNumber(given) === parseNumber(value);
}

/** Whether a text is known not to be the row's label; spreadsheets round numbers. */
function isOtherLabel(review, position, text) {
  const known = parseNumber(givenCell(review, position));
  return Number.isFinite(known) && isNear(text, known) !== true;
}
