// Numbers, labels and rows in words.

const MINUS = "\u2212";

/** A number to read: three significant digits, or as many as are asked for. */
function shortNumber(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  let text = value.toPrecision(digits);
  if ((size !== 0 && size < 1e-3) || size >= 1e5) text = value.toExponential(digits - 1);
  else if (size >= 1000) text = value.toFixed(0);
  return text.replace(/-/g, MINUS);
}

/** A number with all its digits. */
function fullNumber(value) {
  return value === null || value === undefined || Number.isNaN(value)
    ? "–"
    : String(value).replace(/-/g, MINUS);
}

function grouped(count) {
  return count.toLocaleString("en-US");
}

function plural(count, one, many = `${one}s`) {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** harmful, helpful, or neither. */
function signWord(review, position) {
  const value = review.influence[position];
  if (value < 0) return "harmful";
  if (value > 0) return "helpful";
  return review.seen && review.seen[position] === 0 ? "not judged" : "neutral";
}

const CONSEQUENCES = {
  harmful: "without it the validation rows do better",
  helpful: "without it the validation rows do worse",
  neutral: "without it the validation rows do as well",
  "not judged": "the traced steps never saw it",
};

/** In how many trainings a row is harmful: harmful in 4 of 5. */
function trainingsText({ harmfulIn, orders }, position) {
  const [, all] = /^(\d+) trainings$/.exec(orders) ?? [];
  return `harmful in ${harmfulIn[position]}${all ? ` of ${all}` : ""}`;
}

function className(review, label) {
  if (label === NO_CLASS || label === undefined) return "–";
  const { value, name } = review.classes[label];
  return name ? `${value} · ${name}` : value;
}

/** The given or predicted label of a row to read. */
function labelText(review, labels, position) {
  if (!labels) return "–";
  if (review.hasClasses) return className(review, labels[position]);
  const text = labels[position];
  if (text === null || text === undefined) return "–";
  return text.length > 7 && Number.isFinite(parseNumber(text))
    ? shortNumber(parseNumber(text))
    : text;
}

/** A label's text in a decision, such as 3, with the class name. */
function newLabelText(review, value) {
  const found = review.classes.find((known) => known.value === value);
  return found?.name ? `${value} · ${found.name}` : value;
}

/** A change in words, such as relabel to 3. */
function changeText(review, [, kind, label]) {
  return kind === RELABEL ? `relabel to ${newLabelText(review, label)}` : DECISION_WORDS[kind];
}

function decisionText(review, decisions, position) {
  const text = changeText(review, decisions.entry(position));
  const proposal = decisions.proposal(position);
  return proposal ? `${text} (proposed: ${changeText(review, proposal)})` : text;
}

/** The whole row in one sentence, for screen readers. */
function rowSentence(review, decisions, position) {
  const word = signWord(review, position);
  const parts = [`Rank ${position + 1}, row ${review.index[position]}`];
  if (review.given) parts.push(`given ${labelText(review, review.given, position)}`);
  if (review.predicted) parts.push(`predicted ${labelText(review, review.predicted, position)}`);
  if (review.differs?.[position]) parts.push("labels differ");
  const suggested = suggestedClass(review, position);
  if (suggested !== NO_CLASS) parts.push(`suggested ${className(review, suggested)}`);
  parts.push(
    `influence ${shortNumber(review.influence[position])}, ${word}: ${CONSEQUENCES[word]}`,
  );
  if (review.harmfulIn) parts.push(trainingsText(review, position));
  if (review.loss) parts.push(`loss ${shortNumber(review.loss[position])}`);
  parts.push(decisionText(review, decisions, position));
  return parts.join(", ");
}
