// Which rows are shown, and in which order.

function byRank(a, b) {
  return a - b;
}

/** The sort orders on offer: [key, words, comparison of two positions]. */
function sortOrders(review) {
  const { influence, loss, index, differs, error } = review;
  const up = (values) => (a, b) => compare(values[a], values[b]) || byRank(a, b);
  const down = (values) => (a, b) => compare(values[b], values[a]) || byRank(a, b);
  const orders = [
    ["harmful", "most harmful first", byRank],
    ["helpful", "most helpful first", down(influence)],
  ];
  if (differs) orders.push(["differs", "labels that differ first", down(differs)]);
  if (error) orders.push(["error", "largest error first", down(error)]);
  if (loss)
    orders.push(
      ["loss", "highest loss first", down(loss)],
      ["loss-up", "lowest loss first", up(loss)],
    );
  orders.push(
    ["row", "row number", up(index)],
    ["row-down", "row number, last first", down(index)],
  );
  return orders;
}

/** Numbers ascending; what is not a number comes as the lowest. */
function compare(a, b) {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(b) - Number.isNaN(a);
  return a - b;
}

const NO_FILTER = {
  text: "",
  given: null,
  predicted: null,
  group: null,
  differs: false,
  decision: null,
  sign: 0,
  from: -Infinity,
  to: Infinity,
};

class View {
  constructor(review, decisions) {
    this.review = review;
    this.decisions = decisions;
    this.orders = new Map(sortOrders(review).map(([key, , order]) => [key, order]));
    this.sorted = new Map();
    this.sort = "harmful";
    this.clear();
    this.shown = new Uint32Array(0);
    this.refresh();
  }

  clear() {
    this.filter = { ...NO_FILTER };
  }

  isFiltered() {
    const filter = { ...this.filter, text: this.filter.text.trim() };
    return Object.entries(NO_FILTER).some(([name, value]) => filter[name] !== value);
  }

  /** All positions in the present order, kept for the next time. */
  order() {
    if (!this.sorted.has(this.sort)) {
      const positions = Uint32Array.from({ length: this.review.rowCount }, (_, i) => i);
      if (this.sort !== "harmful") positions.sort(this.orders.get(this.sort));
      this.sorted.set(this.sort, positions);
    }
    return this.sorted.get(this.sort);
  }

  refresh() {
    const passes = this.test();
    const shown = new Uint32Array(this.review.rowCount);
    let count = 0;
    for (const position of this.order()) {
      if (passes(position)) {
        shown[count] = position;
        count += 1;
      }
    }
    this.shown = shown.subarray(0, count);
  }

  test() {
    const { review, decisions } = this;
    const { given, predicted, group, differs, decision, sign, from, to } = this.filter;
    const tests = [];
    if (sign) tests.push((p) => review.influence[p] * sign > 0);
    if (from !== -Infinity || to !== Infinity) {
      tests.push((p) => review.influence[p] >= from && review.influence[p] <= to);
    }
    if (given !== null) tests.push((p) => review.given[p] === given);
    if (predicted !== null) tests.push((p) => review.predicted[p] === predicted);
    if (group !== null) tests.push((p) => review.groups.of[p] === group);
    if (differs) tests.push((p) => review.differs[p] === 1);
    if (decision === PROPOSED) tests.push((p) => decisions.proposal(p) !== null);
    else if (decision !== null) tests.push((p) => decisions.kind[p] === decision);
    const text = this.filter.text.trim().toLowerCase();
    if (text) tests.push(this.textTest(text));
    return (position) => tests.every((test) => test(position));
  }

  textTest(text) {
    this.texts ??= searchTexts(this.review);
    const row = /^\d+$/.test(text) ? Number(text) : null;
    return (p) => this.review.index[p] === row || this.texts[p].includes(text);
  }
}

/** What is searched, by position: files and comments in small letters. */
function searchTexts({ rowCount, files, comments }) {
  return Array.from({ length: rowCount }, (_, position) =>
    [...(files?.[position] ?? []), ...(comments?.values[position] ?? [])].join("\n").toLowerCase(),
  );
}
