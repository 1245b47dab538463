// What the page was given, in a form that is quick to sort and filter.
//
// A row is named by its position: 0 is the most harmful one. `datasource_index` is its number in
// the training CSV, which is what the exported decisions use.

const UNDECIDED = 0;
const KEEP = 1;
const REMOVE = 2;
const RELABEL = 3;
// No decision yet, but one is proposed: a choice of the filter, and what a button accepts.
const PROPOSED = 4;
const DECISION_WORDS = ["undecided", "keep", "remove", "relabel"];
const NO_CLASS = -1;

/** Turns the embedded JSON into typed arrays. */
function readReview(element) {
  const raw = JSON.parse(element.textContent);
  const columns = raw.columns;
  const rowCount = columns.influence.length;
  const hasClasses = raw.classes.length > 0;
  const review = {
    ...raw,
    rowCount,
    hasClasses,
    ranking: raw.ranking ?? "influence.csv",
    index: Float64Array.from(columns.datasource_index),
    influence: Float64Array.from(columns.influence),
    loss: columns.loss && Float64Array.from(columns.loss, (value) => value ?? NaN),
    std: columns.influence_std,
    standardError: columns.influence_se,
    harmfulIn: columns.harmful_in,
    seen: columns.times_seen,
    given: readLabels(columns.given, hasClasses),
    predicted: readLabels(columns.predicted, hasClasses),
    other: hasClasses ? readLabels(columns.suggested, true) : null,
    gain: columns.relabel_gain,
    positionOf: new Map(),
    proposed: readProposals(raw.proposals),
  };
  for (let position = 0; position < rowCount; position += 1) {
    review.positionOf.set(review.index[position], position);
  }
  review.differs = findDifferences(review);
  review.error = findErrors(review);
  review.classRows = countClassRows(review);
  review.canRelabel = mayRelabel(review);
  return review;
}

/** What is proposed for rows, by position: changes as `Decisions.decide` takes them. */
function readProposals(proposals) {
  return new Map(
    proposals.map(([position, word, label]) => [
      position,
      [position, DECISION_WORDS.indexOf(word), label],
    ]),
  );
}

/** The label that a row had better have; NO_CLASS where none is known to be better. */
function suggestedClass({ other, gain }, position) {
  return other && gain?.[position] > 0 ? other[position] : NO_CLASS;
}

function readLabels(column, areClasses) {
  if (!column) return null;
  return areClasses ? Int32Array.from(column, (value) => value ?? NO_CLASS) : column;
}

/** 1 where the network predicts another class than the given one; null without classes. */
function findDifferences({ hasClasses, given, predicted, rowCount }) {
  if (!hasClasses || !given || !predicted) return null;
  const differs = new Uint8Array(rowCount);
  for (let position = 0; position < rowCount; position += 1) {
    const known = given[position] !== NO_CLASS && predicted[position] !== NO_CLASS;
    differs[position] = known && given[position] !== predicted[position] ? 1 : 0;
  }
  return differs;
}

/** How far predicted numbers lie from given ones; null with classes or where none are numbers. */
function findErrors({ hasClasses, given, predicted, rowCount }) {
  if (hasClasses || !given || !predicted) return null;
  const error = new Float64Array(rowCount);
  for (let position = 0; position < rowCount; position += 1) {
    error[position] = Math.abs(parseNumber(given[position]) - parseNumber(predicted[position]));
  }
  return error.some(Number.isFinite) ? error : null;
}

function countClassRows({ classes, hasClasses, given }) {
  const counts = new Int32Array(classes.length);
  if (hasClasses && given) for (const label of given) if (label !== NO_CLASS) counts[label] += 1;
  return counts;
}

/** New labels are classes or numbers; columns of files or text cannot be relabelled. */
function mayRelabel({ hasClasses, given }) {
  if (!given) return false;
  return hasClasses || given.every((cell) => Number.isFinite(parseNumber(cell)));
}

/** The finite number that a text holds, or NaN. */
function parseNumber(text) {
  if (text === null || text === undefined) return NaN;
  const plain = String(text).normalize("NFKC").replace(/−/g, "-").trim();
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : NaN;
}
