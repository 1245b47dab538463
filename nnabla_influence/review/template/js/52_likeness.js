// Whether a cell that went through a spreadsheet can be the one that it was before.
// What is allowed is what `cleanse` allows.

const NUMBER_SHAPE = /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/;
const SPREADSHEET_DIGITS = 1e-5;
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/** true, false, or null where nothing can be said: a spreadsheet may have made a date of it. */
function agrees(shown, own) {
  if (!shown.trim() || !own.trim()) return null;
  const value = parseNumber(own);
  const text = plainText(shown);
  if (Number.isFinite(value)) {
    // Where a point groups digits, 1.234 is read as 1234.
    const digits = own
      .trim()
      .replace(/\./g, "")
      .replace(/^[0+]+/, "");
    return (text.length > 3 && own.includes(".") && digits === text) || isNear(shown, value);
  }
  return isSameText(text, plainText(own));
}

/** Whether a cell can be a number, rounded as it is shown; null where it is none. */
function isNear(shown, value) {
  const text = plainText(shown).replace(/−/g, "-");
  if (!NUMBER_SHAPE.test(text)) return null;
  const [mantissa, exponent = "0"] = text.replace(",", ".").split("e");
  const decimals = (mantissa.split(".")[1] ?? "").length;
  const half = Number(`0.5000000001e${Number(exponent) - decimals}`);
  const difference = Math.abs(Number(`${mantissa}e${exponent}`) - value);
  return difference <= Math.max(half, SPREADSHEET_DIGITS * Math.abs(value));
}

function isSameText(shown, own) {
  if (shown === own) return true;
  if (!isLeftAlone(own)) return null;
  const [one, other] = [pathSteps(shown), pathSteps(own)].sort((a, b) => a.length - b.length);
  // A file, seen from two folders.
  if (one.length && other.slice(-one.length).join("/") === one.join("/")) return true;
  const [begin, ...cut] = shown.split("...(cuthere");
  if (cut.length) return own.startsWith(begin);
  if (/[?\ufffd]|[^\x00-\x7f]/.test(shown) || /[^\x00-\x7f]/.test(own)) {
    const digits = (text) => (text.match(/\d+/g) ?? []).join(" ");
    return digits(shown) === digits(own) ? null : false;
  }
  return false;
}

/** Whether a spreadsheet takes a text for one, and for no number, date or truth value. */
function isLeftAlone(text) {
  const words = text.match(/\p{L}+/gu) ?? [];
  const [first] = words;
  const isDate =
    words.length === 1 && (MONTHS.includes(first.slice(0, 3)) || ["am", "pm", "e"].includes(first));
  return words.some((word) => word.length > 1) && !isDate && !["true", "false"].includes(text);
}

function plainText(cell) {
  return cell.normalize("NFKC").replace(/[\s']/g, "").replace(/\\/g, "/").toLowerCase();
}

/** What a path leads through, without the way up that it begins with. */
function pathSteps(path) {
  const steps = [];
  for (const step of path.split("/")) {
    if (step === "..") steps.pop();
    else if (step && step !== ".") steps.push(step);
  }
  return steps;
}
