// The decisions as a CSV, out and in again.

const HEADER = ["datasource_index", "decision", "label", "ranking"];
const RANKING_ID = /^r[0-9a-f]{16}$/;
const NUMBER_SHAPE = /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i;
const SPREADSHEET_DIGITS = 1e-5;

/** The id of this ranking, as `cleanse` and the workbook write it. */
function rankingId(review) {
  return `r${review.key}`;
}

/** A row's given label as the dataset has it. */
function givenCell(review, position) {
  const label = review.given?.[position];
  if (label === null || label === undefined || label === NO_CLASS) return "";
  return review.hasClasses ? review.classes[label].value : label;
}

/** The decisions, each with the id of the ranking, and with its label and files to read. */
function decisionsCsv(review, decisions) {
  const files = review.files ? review.image_columns.map((name) => `file ${name}`) : [];
  const header = [...HEADER, "influence", ...(review.given ? ["given"] : []), ...files];
  const lines = decisions
    .decided()
    .map((position) => [
      String(review.index[position]),
      DECISION_WORDS[decisions.kind[position]],
      decisions.label(position) ?? "",
      rankingId(review),
      String(review.influence[position]),
      ...(review.given ? [givenCell(review, position)] : []),
      ...(review.files?.[position] ?? []),
    ]);
  const text = [header, ...lines].map(csvLine);
  // Where a cell is not ASCII, spreadsheets need the byte-order mark.
  const mark = text.some((line) => /[^\x00-\x7f]/.test(line)) ? "\uFEFF" : "";
  return `${mark}${text.join("\n")}\n`;
}

/** Reads decisions: {changes, problems: [line of text, ...], isChecked}. */
function readDecisions(review, text) {
  const { names, lines, missing } = readTable(text, HEADER.slice(0, 2));
  if (missing) {
    const problem = `it has no column ${missing.join(" and no column ")} in its first line`;
    return { changes: [], problems: [problem] };
  }
  const columns = findColumns(review, names);
  const changes = new Map();
  const problems = [];
  let isChecked = true;
  for (const { number, cells } of lines) {
    const word = plainWord(cells[columns.decision] ?? "");
    const position = word ? positionOfCell(review, cells[columns.index]) : undefined;
    const agrees = word ? compareRanking(review, columns, cells, position) : true;
    if (typeof agrees === "string") {
      const problem = `line ${number}: ${agrees}: the decisions are about another ranking`;
      return { changes: [], problems: [problem] };
    }
    isChecked &&= agrees;
    const read = readDecision(review, columns, cells, word, position);
    if (typeof read === "string") problems.push(`line ${number}: ${read}`);
    else if (read) {
      const before = changes.get(position);
      if (!before) changes.set(position, { number, read });
      else if (String(before.read) !== String(read)) {
        const row = review.index[position];
        problems.push(`line ${number}: line ${before.number} decides otherwise about row ${row}`);
      }
    }
  }
  return { changes: [...changes.values()].map(({ read }) => read), problems, isChecked };
}

function findColumns(review, names) {
  const [index, decision] = HEADER.map((name) => names.indexOf(name));
  const after = names.indexOf("label", decision);
  const own = [review.image_columns, review.features?.names, review.comments?.names].flat();
  return {
    index,
    decision,
    label: after < 0 ? names.lastIndexOf("label") : after,
    // Where the dataset has a column of that name, it may hold each row's own label.
    labelsMayBeOld: [review.label, ...own].some((name) => plainWord(name ?? "") === "label"),
    rankings: [...names.keys()].filter((at) => names[at] === "ranking"),
    influence: names.filter((name) => name === "influence").length === 1
      ? names.indexOf("influence")
      : -1,
  };
}

/** Whether a line names this ranking, or its row's influence; a text where it is another one. */
function compareRanking(review, columns, cells, position) {
  const ids = columns.rankings.map((at) => plainWord(cells[at] ?? ""));
  const found = ids.filter((id) => RANKING_ID.test(id));
  const other = found.find((id) => id !== rankingId(review));
  if (other) return `${other} is not ${rankingId(review)}, the id of this ranking`;
  if (found.length || position === undefined) return true;
  const shown = cells[columns.influence] ?? "";
  const agrees = isNear(shown, review.influence[position]);
  if (agrees !== false) return agrees === true;
  return `“${shown}” is not the influence of row ${review.index[position]}`;
}

/** Whether a cell can be a number, as a spreadsheet rounds it; null for text. */
function isNear(shown, value) {
  const text = shown.normalize("NFKC").replace(/\s/g, "").replace(/−/g, "-");
  if (!NUMBER_SHAPE.test(text)) return null;
  const [mantissa, exponent = "0"] = text.toLowerCase().replace(",", ".").split("e");
  const decimals = (mantissa.split(".")[1] ?? "").length;
  const half = Number(`0.5000000001e${Number(exponent) - decimals}`);
  const difference = Math.abs(Number(`${mantissa}e${exponent}`) - value);
  return difference <= Math.max(half, SPREADSHEET_DIGITS * Math.abs(value));
}

/** Whole numbers only: 4.000 may be 4000 where a point groups digits. */
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
  if (kind < KEEP) return `“${word}” must be keep, remove or relabel`;
  if (position === undefined)
    return `“${cells[columns.index] ?? ""}” is not a row of this ranking`;
  if (kind === KEEP && isNew && isOtherLabel(review, position, label))
    return `“${label}” is not the row's label, but the decision beside it is keep`;
  if (kind !== RELABEL) return [position, kind, null];
  const checked = checkLabel(review, label);
  return checked.problem ?? [position, kind, checked.value];
}

/** A new label as the dataset writes it: {value} or {problem}. Names of classes are not labels. */
function checkLabel(review, text) {
  const plain = text.normalize("NFKC").trim();
  if (!plain) return { problem: "the new label is missing" };
  const number = parseNumber(plain);
  if (!review.hasClasses) {
    return Number.isFinite(number)
      ? { value: plain.replace(/−/g, "-") }
      : { problem: `“${plain}” is not a number` };
  }
  const found = review.classes.find(
    ({ value }, label) => review.classRows[label] > 0 && parseNumber(value) === number,
  );
  return found
    ? { value: found.value }
    : { problem: `“${plain}” is not a class of the given labels` };
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
