// Asks for the new label: one of the classes, or a number where there are none.

class RelabelDialog {
  constructor(review, whenChosen) {
    this.review = review;
    this.whenChosen = whenChosen;
    this.dialog = byId("relabel");
    this.text = byId("relabel-text");
    this.offered = [...review.classes.keys()].filter((label) => review.classRows[label] > 0);
    byId("relabel-classes").append(
      ...this.offered.map((label) => make("option", { value: className(review, label) })),
    );
    byId("relabel-cancel").addEventListener("click", () => this.dialog.close());
    byId("relabel-form").addEventListener("submit", (event) => this.submit(event));
  }

  open(positions) {
    const { review } = this;
    this.positions = positions;
    this.guess = this.guessed();
    byId("relabel-problem").textContent = "";
    byId("relabel-what").textContent =
      positions.length === 1
        ? this.describe(positions[0])
        : `${plural(positions.length, "row")} get the same new label.`;
    this.text.value = "";
    this.text.placeholder = review.hasClasses ? "a class or its name" : "a number";
    if (this.guess) {
      const { label, whose } = this.guess;
      this.text.placeholder = `${className(review, label)} (${whose})`;
    }
    openDialog(this.dialog);
    this.text.focus();
  }

  describe(position) {
    const { review } = this;
    const predicted = review.predicted
      ? `, predicted ${labelText(review, review.predicted, position)}`
      : "";
    const given = labelText(review, review.given, position);
    const label = suggestedClass(review, position);
    const suggested = label === NO_CLASS ? "" : `, suggested ${className(review, label)}`;
    return `Row ${review.index[position]}: given ${given}${predicted}${suggested}.`;
  }

  /** What Enter alone takes: {label, whose} of the first one that can be given to all rows. */
  guessed() {
    const { review, positions } = this;
    if (!review.hasClasses) return null;
    const sources = {
      proposed: (position) =>
        review.classes.findIndex(({ value }) => value === review.proposed.get(position)?.[2]),
      suggested: (position) => suggestedClass(review, position),
      predicted: (position) => review.predicted?.[position],
    };
    for (const [whose, labelOf] of Object.entries(sources)) {
      const label = labelOf(positions[0]);
      const isOne = positions.every((position) => labelOf(position) === label);
      const isNew = positions.some((position) => review.given[position] !== label);
      if (isOne && isNew && this.offered.includes(label)) return { label, whose };
    }
    return null;
  }

  /** The new label that is typed: {value} or {problem}. */
  read() {
    const { review, guess } = this;
    const text = this.text.value.trim();
    if (!review.hasClasses) return checkLabel(review, text);
    if (!text && !guess) return { problem: "Type the new label." };
    const found = text ? this.matching(plainWord(text)) : [guess.label];
    if (found.length === 1) return { value: review.classes[found[0]].value };
    if (!found.length) return { problem: `No class has “${text}” in it.` };
    const some = found.slice(0, 4).map((label) => className(review, label));
    const count = plural(found.length, "class", "classes");
    return { problem: `“${text}” is in ${count}: ${some.join(", ")}.` };
  }

  /** The classes with this value or name; if there are none, those that contain the text. */
  matching(typed) {
    const { review } = this;
    const is = (text) => plainWord(text ?? "") === typed;
    const tests = [
      (label) => is(review.classes[label].value),
      (label) => is(className(review, label)) || is(review.classes[label].name),
      (label) => plainWord(className(review, label)).includes(typed),
    ];
    return tests.map((test) => this.offered.filter(test)).find((found) => found.length) ?? [];
  }

  submit(event) {
    event.preventDefault();
    const { value, problem } = this.read();
    const others = problem
      ? []
      : this.positions.filter((position) => !isGivenLabel(this.review, position, value));
    const said = problem ?? (others.length ? "" : `${value} is the label already.`);
    byId("relabel-problem").textContent = said;
    if (said) return;
    // Closed at once, which gives the focus back to the list: the next key is for the list.
    this.dialog.close();
    this.whenChosen(others, value, this.positions.length - others.length);
  }
}
