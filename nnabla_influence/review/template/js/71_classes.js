// The summary of each class, which is also a filter.

class ClassTable {
  constructor(review, decisions, whenChosen) {
    this.review = review;
    this.decisions = decisions;
    this.whenChosen = whenChosen;
    this.lines = [];
    this.columns = [
      ["class", "Class"],
      ["rows", "Rows"],
      ["harmful", "Harmful"],
      ["mean", "Mean"],
    ];
    if (review.differs) this.columns.push(["differ", "≠", "labels that differ"]);
    this.columns.push(["decided", "Done", "rows decided for"]);
    this.summary = summarizeClasses(review);
    this.byValue = new Map(this.summary.map((line) => [review.classes[line.class].value, line]));
    this.order = ["class", 1];
    this.build();
  }

  build() {
    this.head = make("tr");
    this.body = make("tbody");
    byId("classes").replaceChildren(
      make("caption", { className: "unseen" }, "Summary of each class; mean is the mean influence"),
      make("thead", {}, this.head),
      this.body,
    );
    for (const column of this.columns) this.head.append(this.headCell(...column));
    this.lines = this.summary.map((line) => this.makeLine(line));
    this.refresh();
    this.arrange();
  }

  headCell(key, title, meaning = "") {
    const button = make("button", { type: "button", className: "quiet", title: meaning }, title);
    if (meaning) button.setAttribute("aria-label", `${title}: ${meaning}`);
    button.addEventListener("click", () => {
      const turned =
        this.order[0] === key ? -this.order[1] : key === "class" || key === "mean" ? 1 : -1;
      this.order = [key, turned];
      this.arrange();
    });
    return make("th", { scope: "col", "data-key": key }, button);
  }

  makeLine(line) {
    const title = className(this.review, line.class);
    const settings = { type: "button", className: "quiet", "aria-pressed": "false", title };
    const button = make("button", settings, title);
    button.addEventListener("click", () => this.whenChosen(line.class));
    const cells = {};
    const element = make("tr", {}, make("th", { scope: "row" }, button));
    for (const [key] of this.columns.slice(1)) {
      cells[key] = make("td");
      element.append(cells[key]);
    }
    return { line, element, cells, button, shown: {} };
  }

  /** Counts what is decided anew. */
  refresh() {
    for (const line of this.summary) Object.assign(line, { decided: 0, left: line.rows });
    const { given } = this.review;
    this.decisions.kind.forEach((kind, position) => {
      if (kind) this.count(kind, position, given[position]);
    });
    for (const { line, cells, shown } of this.lines) {
      for (const [key, cell] of Object.entries(cells)) {
        if (shown[key] === line[key]) continue; // There may be thousands, at each key press.
        shown[key] = line[key];
        cell.textContent = key === "mean" ? shortNumber(line.mean, 2) : grouped(line[key]);
      }
    }
    if (this.order[0] === "decided") this.arrange();
  }

  count(kind, position, label) {
    if (label === NO_CLASS) return;
    this.summary[label].decided += 1;
    if (kind !== KEEP) this.summary[label].left -= 1;
    if (kind !== RELABEL) return;
    const gained = this.byValue.get(this.decisions.label(position));
    if (gained) gained.left += 1;
  }

  arrange() {
    const [key, way] = this.order;
    const value = (line) => (Number.isNaN(line[key]) ? Infinity : line[key]);
    const sorted = [...this.lines].sort(
      (a, b) => way * (value(a.line) - value(b.line)) || a.line.class - b.line.class,
    );
    const hadFocus = document.activeElement;
    if (sorted.some(({ element }, i) => this.body.children[i] !== element)) {
      this.body.replaceChildren(...sorted.map(({ element }) => element));
      if (this.body.contains(hadFocus)) hadFocus.focus();
    }
    for (const cell of this.head.children) {
      if (cell.dataset.key === key)
        cell.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
  }

  showChosen(label) {
    for (const { line, button } of this.lines)
      button.setAttribute("aria-pressed", line.class === label);
  }

  /** The classes that would lose their last row, by name. */
  emptied() {
    return this.summary
      .filter((line) => line.rows > 0 && line.left === 0)
      .map((line) => className(this.review, line.class));
  }
}

function summarizeClasses(review) {
  const none = { rows: 0, harmful: 0, sum: 0, mean: NaN, differ: 0, decided: 0, left: 0 };
  const lines = review.classes.map((_, label) => ({ class: label, ...none }));
  review.given.forEach((label, position) => {
    if (label === NO_CLASS) return;
    const line = lines[label];
    line.rows += 1;
    line.sum += review.influence[position];
    if (review.influence[position] < 0) line.harmful += 1;
    if (review.differs?.[position]) line.differ += 1;
  });
  for (const line of lines) line.mean = line.rows ? line.sum / line.rows : NaN;
  return lines;
}
