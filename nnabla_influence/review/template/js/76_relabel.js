// Asks for the new label: one of the classes, or a number where there are none.

const MANY_CLASSES = 200;

class RelabelDialog {
  constructor(review, whenChosen) {
    this.review = review;
    this.whenChosen = whenChosen;
    this.dialog = byId("relabel");
    this.text = byId("relabel-text");
    this.choices = byId("relabel-choices");
    this.text.addEventListener("input", () => this.narrow());
    this.text.addEventListener("keydown", (event) => this.step(event));
    byId("relabel-cancel").addEventListener("click", () => this.dialog.close());
    byId("relabel-form").addEventListener("submit", (event) => this.submit(event));
    this.choices.addEventListener("dblclick", (event) => {
      if (event.target.closest("label")) byId("relabel-form").requestSubmit();
    });
  }

  open(positions) {
    const { review } = this;
    this.positions = positions;
    byId("relabel-problem").textContent = "";
    byId("relabel-what").textContent =
      positions.length === 1
        ? this.describe(positions[0])
        : `${plural(positions.length, "row")} get the same new label.`;
    this.text.value = "";
    this.choices.hidden = !review.hasClasses;
    this.text.placeholder = review.hasClasses
      ? "type a class or its name, or choose below"
      : "a number";
    if (review.hasClasses) this.narrow(this.guess());
    openDialog(this.dialog);
    this.text.focus();
  }

  describe(position) {
    const { review } = this;
    const predicted = review.predicted
      ? `, predicted ${labelText(review, review.predicted, position)}`
      : "";
    const given = labelText(review, review.given, position);
    return `Row ${review.index[position]}: given ${given}${predicted}.`;
  }

  /** What the network predicts for the rows, if that is one class and not the given one. */
  guess() {
    const { predicted } = this.review;
    if (!predicted) return null;
    const [first, ...others] = this.positions.map((position) => predicted[position]);
    return others.every((other) => other === first) ? first : null;
  }

  /** Offers the classes that the typed text can mean. */
  narrow(wanted = null) {
    if (!this.review.hasClasses) return;
    const typed = this.text.value.normalize("NFKC").trim().toLowerCase();
    const matching = [];
    this.review.classes.forEach(({ value, name }, label) => {
      if (this.review.classRows[label] === 0 || this.isOwn(label)) return;
      const text = `${value} ${name ?? ""}`.toLowerCase();
      if (text.includes(typed))
        matching.push([value === typed ? 0 : value.startsWith(typed) ? 1 : 2, label]);
    });
    matching.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const labels = matching.slice(0, MANY_CLASSES).map(([, label]) => label);
    const chosen = labels.includes(wanted) ? wanted : typed ? labels[0] : undefined;
    this.choices.replaceChildren(...labels.map((label) => this.choice(label, label === chosen)));
    byId("relabel-problem").textContent = labels.length
      ? ""
      : `No class has “${this.text.value}” in it.`;
  }

  choice(label, checked) {
    const radio = make("input", {
      type: "radio",
      name: "relabel-class",
      value: this.review.classes[label].value,
      checked,
    });
    const isGuess = label === this.guess();
    return make(
      "label",
      {},
      radio,
      make("span", {}, className(this.review, label)),
      isGuess ? make("span", { className: "small" }, "predicted") : null,
    );
  }

  /** The label that all of the rows have already is no choice. */
  isOwn(label) {
    return this.positions.every((position) => this.review.given[position] === label);
  }

  /** Arrow keys in the text go through the classes. */
  step(event) {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const radios = [...this.choices.querySelectorAll("input")];
    if (!way || !radios.length) return;
    event.preventDefault();
    const at = radios.findIndex((radio) => radio.checked);
    const next = radios[(at + way + radios.length) % radios.length];
    next.checked = true;
    next.closest("label").scrollIntoView({ block: "nearest" });
  }

  submit(event) {
    const radio = this.choices.querySelector("input:checked");
    const text = this.review.hasClasses ? (radio?.value ?? "") : this.text.value;
    const checked = checkLabel(this.review, text);
    let problem = checked.problem && (text ? checked.problem : "Choose the new label.");
    const others = problem
      ? []
      : this.positions.filter((p) => !isGivenLabel(this.review, p, checked.value));
    if (!problem && !others.length) problem = `${checked.value} is the label already.`;
    byId("relabel-problem").textContent = problem ?? "";
    event.preventDefault();
    if (problem) return;
    const { positions } = this;
    // Closed at once, which gives the focus back to the list: the next key is for the list.
    this.dialog.close();
    this.whenChosen(others, checked.value, positions.length - others.length);
  }
}
