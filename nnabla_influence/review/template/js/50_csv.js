// The decisions as a CSV, out and in again.

const HEADER = ["datasource_index", "decision", "label"];

function decisionsCsv(review, decisions) {
  const lines = decisions
    .decided()
    .map((position) =>
      [
        review.index[position],
        DECISION_WORDS[decisions.kind[position]],
        quoted(decisions.label(position) ?? ""),
      ].join(","),
    );
  return [HEADER.join(","), ...lines, ""].join("\n");
}

function quoted(cell) {
  return /[",\r\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell;
}

/** The text of a file as spreadsheets save it: UTF-8 or UTF-16. */
function decodeText(buffer) {
  const [first, second] = new Uint8Array(buffer.slice(0, 2));
  let encoding = "utf-8";
  if (first === 0xff && second === 0xfe) encoding = "utf-16le";
  if (first === 0xfe && second === 0xff) encoding = "utf-16be";
  return new TextDecoder(encoding).decode(buffer);
}

/** Cells of a CSV: [{number of the line, cells}, ...], without blank lines. */
function parseCsv(text) {
  const firstLine = text.slice(0, (text.search(/[\r\n]/) + 1 || text.length + 1) - 1);
  const separator = [";", "\t"].find((sign) => firstLine.includes(sign)) ?? ",";
  const lines = [];
  let cells = [];
  let number = 1;
  let startedAt = 1;
  const token = new RegExp(
    `(?:"((?:[^"]|"")*)"?|([^${separator}\\r\\n]*))(${separator}|\\r\\n|\\r|\\n|$)`,
    "gy",
  );
  while (token.lastIndex < text.length) {
    const [whole, inQuotes, plain, end] = token.exec(text) ?? rest(text, token);
    cells.push(inQuotes === undefined ? plain : inQuotes.replace(/""/g, '"'));
    number += (whole.match(/\r\n|\r|\n/g) ?? []).length;
    if (end === separator) continue;
    if (cells.some((cell) => cell.trim())) lines.push({ number: startedAt, cells });
    cells = [];
    startedAt = number;
  }
  return lines;
}

/** A cell with signs behind its closing quote, as no spreadsheet writes it, ends the parsing. */
function rest(text, token) {
  const plain = text.slice(token.lastIndex);
  token.lastIndex = text.length;
  return [plain, undefined, plain, ""];
}

/** Reads decisions: {changes, problems: [line of text, ...]}. */
function readDecisions(review, text) {
  const [head, ...lines] = parseCsv(text);
  const names = (head?.cells ?? []).map((cell) => plainWord(cell));
  const missing = HEADER.slice(0, 2).filter((name) => !names.includes(name));
  if (missing.length) {
    return {
      changes: [],
      problems: [`it has no column ${missing.join(" and no column ")} in its first line`],
    };
  }
  const columns = { index: names.indexOf(HEADER[0]), decision: names.indexOf(HEADER[1]) };
  columns.label = names.indexOf(HEADER[2], columns.decision);
  if (columns.label < 0) columns.label = names.lastIndexOf(HEADER[2]);
  const byRow = new Map();
  const problems = [];
  for (const { number, cells } of lines) {
    const read = readDecision(review, columns, cells);
    if (typeof read === "string") problems.push(`line ${number}: ${read}`);
    else if (read) byRow.set(read[0], read);
  }
  return { changes: [...byRow.values()], problems };
}

function plainWord(cell) {
  return cell
    .normalize("NFKC")
    .replace(/^\uFEFF/, "")
    .trim()
    .toLowerCase();
}

/** One line: a change, null where nothing is decided, or what is wrong with it. */
function readDecision(review, columns, cells) {
  const word = plainWord(cells[columns.decision] ?? "");
  if (!word) return null;
  const kind = DECISION_WORDS.indexOf(word);
  if (kind < KEEP) return `“${word}” is none of keep, remove and relabel`;
  const position = review.positionOf.get(parseNumber(cells[columns.index]));
  if (position === undefined) return `“${cells[columns.index] ?? ""}” is no row of this ranking`;
  if (kind !== RELABEL) return [position, kind, null];
  const checked = checkLabel(review, cells[columns.label] ?? "");
  return checked.problem ?? [position, kind, checked.value];
}

/** A new label as the dataset writes it: {value} or {problem}. */
function checkLabel(review, text) {
  const plain = text.normalize("NFKC").trim();
  if (!plain) return { problem: "the new label is missing" };
  const number = parseNumber(plain);
  if (!review.hasClasses) {
    return Number.isFinite(number)
      ? { value: plain.replace(/−/g, "-") }
      : { problem: `“${plain}” is no number` };
  }
  const found = review.classes.findIndex(
    ({ value, name }, label) =>
      review.classRows[label] > 0 &&
      (value === plain ||
        parseNumber(value) === number ||
        name?.toLowerCase() === plain.toLowerCase()),
  );
  return found < 0
    ? { problem: `“${plain}” is no class of the given labels` }
    : { value: review.classes[found].value };
}

/** Whether a new label is the one that the row has already. */
function isGivenLabel(review, position, value) {
  if (!review.given) return false;
  const given = review.hasClasses
    ? review.classes[review.given[position]]?.value
    : review.given[position];
  return given === value || parseNumber(given) === parseNumber(value);
}
