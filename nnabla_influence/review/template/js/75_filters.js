// The fields that say which rows are shown.

class Filters {
  constructor(review, view, whenChanged) {
    this.review = review;
    this.view = view;
    this.whenChanged = whenChanged;
    this.fillChoices();
    this.listen();
  }

  fillChoices() {
    const { review } = this;
    const classed = (labels) => review.hasClasses && labels;
    byId("given-field").hidden = !classed(review.given);
    byId("predicted-field").hidden = !classed(review.predicted);
    byId("differs-field").hidden = !review.differs;
    byId("classes-section").hidden = !classed(review.given);
    if (review.proposed.size)
      byId("decision").append(make("option", { value: PROPOSED }, "proposed"));
    for (const [id, labels] of [
      ["given", review.given],
      ["predicted", review.predicted],
    ]) {
      byId(id).append(make("option", { value: "" }, "any"));
      if (!classed(labels)) continue;
      const found = new Set(labels);
      review.classes.forEach((_, label) => {
        if (found.has(label))
          byId(id).append(make("option", { value: label }, className(review, label)));
      });
    }
  }

  listen() {
    const chosen = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
    const on = (id, event, change) =>
      byId(id).addEventListener(event, () => {
        Object.assign(this.view.filter, change(this.view.filter));
        this.changed();
      });
    on("search", "input", () => ({ text: byId("search").value }));
    for (const id of ["given", "predicted", "decision"])
      on(id, "change", () => ({ [id]: chosen(id) }));
    on("differs", "change", () => ({ differs: byId("differs").checked }));
    on("only-harmful", "click", ({ sign }) => ({ sign: sign === -1 ? 0 : -1 }));
    on("only-helpful", "click", ({ sign }) => ({ sign: sign === 1 ? 0 : 1 }));
    for (const id of ["from", "to"]) byId(id).addEventListener("change", () => this.readRange());
    for (const id of ["clear-filters", "empty-clear"])
      byId(id).addEventListener("click", () => this.clear());
  }

  readRange() {
    const problem = byId("range-problem");
    problem.textContent = "";
    const limits = [
      ["from", -Infinity],
      ["to", Infinity],
    ].map(([id, open]) => {
      const field = byId(id);
      const isEmpty = field.value.trim() === "";
      const value = isEmpty ? open : parseNumber(field.value);
      field.setAttribute("aria-invalid", Number.isNaN(value));
      if (Number.isNaN(value))
        problem.textContent = `“${field.value}” is not a number such as -0.01 or 2e-5.`;
      return value;
    });
    if (problem.textContent) return;
    [this.view.filter.from, this.view.filter.to] = limits;
    this.changed();
  }

  /** Takes a range of scores, as the histogram gives it. */
  setRange(from, to) {
    byId("from").value = from === -Infinity ? "" : String(Number(from.toPrecision(6)));
    byId("to").value = to === Infinity ? "" : String(Number(to.toPrecision(6)));
    this.readRange();
  }

  /** Shows one `given` class or `group` only, or all again. */
  toggle(name, value) {
    const { filter } = this.view;
    filter[name] = filter[name] === value ? null : value;
    this.changed();
  }

  clear() {
    this.view.clear();
    byId("from").value = "";
    byId("to").value = "";
    byId("range-problem").textContent = "";
    for (const id of ["from", "to"]) byId(id).removeAttribute("aria-invalid");
    this.changed();
  }

  changed() {
    const { filter } = this.view;
    if (byId("search").value !== filter.text) byId("search").value = filter.text;
    for (const id of ["given", "predicted", "decision"]) byId(id).value = filter[id] ?? "";
    byId("differs").checked = filter.differs;
    byId("only-harmful").setAttribute("aria-pressed", filter.sign === -1);
    byId("only-helpful").setAttribute("aria-pressed", filter.sign === 1);
    byId("clear-filters").disabled = !this.view.isFiltered();
    this.whenChanged();
  }
}
