// CSV text, out and in again, also as spreadsheets save it.

const SEPARATORS = [",", ";", "\t"];
const FORMULA = /^[\s"']*[=+\-@＝＋－＠﹢﹣﹦﹫−]|^[\t\r\n]|[;\t\r\n]["']*[=+\-@＝＋－＠﹢﹣﹦﹫−]/;

/** A line of cells; what a spreadsheet would run is a text there, by an apostrophe in front. */
function csvLine(cells) {
  return cells.map((cell) => quoted(harmlessCell(cell))).join(",");
}

function quoted(cell) {
  return /[",;\t\r\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell;
}

function harmlessCell(cell) {
  if (!FORMULA.test(cell) || Number.isFinite(parseNumber(cell))) return cell;
  return `'${cell.replace(/([;\t\r\n])(?=["']*[=+\-@＝＋－＠﹢﹣﹦﹫−])/g, "$1'")}`;
}

/** The text of a file as spreadsheets save it: UTF-8 or UTF-16. */
function decodeText(buffer) {
  const [first, second] = new Uint8Array(buffer.slice(0, 2));
  let encoding = "utf-8";
  if (first === 0xff && second === 0xfe) encoding = "utf-16le";
  if (first === 0xfe && second === 0xff) encoding = "utf-16be";
  return new TextDecoder(encoding).decode(buffer);
}

/** A table with some columns: {names, lines: [{number of the line, cells}, ...]}, or {missing}. */
function readTable(text, wanted) {
  let most = [];
  for (const separator of SEPARATORS) {
    const [first, second] = parseCsv(text, separator, 2);
    // A line such as sep=; tells Excel the separator.
    const isTold = /^sep=[,;\t|]?$/i.test(
      (first?.cells.join("") ?? "").replace(/^\uFEFF/, "").trim(),
    );
    const names = ((isTold ? second : first)?.cells ?? []).map((cell) => plainWord(cell));
    if (wanted.every((name) => names.includes(name)))
      return { names, lines: parseCsv(text, separator).slice(isTold ? 2 : 1) };
    if (names.length > most.length) most = names;
  }
  return { missing: wanted.filter((name) => !most.includes(name)) };
}

/** Cells of a CSV: [{number of the line, cells}, ...], without blank lines. */
function parseCsv(text, separator, most = Infinity) {
  const lines = [];
  let cells = [];
  let number = 1;
  let startedAt = 1;
  const token = new RegExp(
    `(?:"((?:[^"]|"")*)"?|([^${separator}\\r\\n]*))(${separator}|\\r\\n|\\r|\\n|$)`,
    "gy",
  );
  while (token.lastIndex < text.length && lines.length < most) {
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

function plainWord(cell) {
  return cell
    .normalize("NFKC")
    .replace(/^\uFEFF/, "")
    .trim()
    .toLowerCase();
}
