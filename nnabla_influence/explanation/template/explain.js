// Buttons beside the training rows of an explanation, and the bar of the decisions.
//
// The same row may be shown for several evaluated rows; its decision is one.

// More of them, for each of many rows, are offered when they are asked for.
const MANY_CLASSES = 50;

class DecisionButtons {
  constructor(place, review, decisions) {
    const row = Number(place.dataset.row);
    this.review = review;
    this.decisions = decisions;
    this.row = row;
    this.position = review.positionOf.get(row);
    this.buttons = [KEEP, REMOVE, ...(this.mayRelabel() ? [RELABEL] : [])].map((kind) => {
      const word = DECISION_WORDS[kind];
      const title = kind === RELABEL ? "Relabel to" : word.replace(/^./, (c) => c.toUpperCase());
      const button = make("button", { type: "button", className: `decide ${word}` }, title);
      button.addEventListener("click", () => this.press(kind));
      return button;
    });
    place.replaceChildren(...this.buttons);
    if (this.mayRelabel()) place.append(this.makeSelect(place.dataset.suggested));
    this.show();
  }

  mayRelabel() {
    return this.otherClasses().length > 0;
  }

  /** The classes that the row may be given: those that others have. */
  otherClasses() {
    const { classes, classRows, given } = this.review;
    return [...classes.keys()].filter(
      (label) => classRows[label] > 0 && label !== given?.[this.position],
    );
  }

  makeSelect(suggested) {
    const { review } = this;
    const others = this.otherClasses();
    const first = others.find((label) => review.classes[label].value === suggested) ?? others[0];
    this.select = make("select", { "aria-label": `New label of training row ${this.row}` });
    if (others.length > MANY_CLASSES) {
      this.offer([first]);
      this.select.addEventListener("focus", () => this.offer(others), { once: true });
    } else this.offer(others);
    this.select.value = review.classes[first].value;
    this.select.addEventListener("change", () => {
      if (this.decisions.entry(this.position)[1] === RELABEL) this.decide(RELABEL);
    });
    return this.select;
  }

  offer(labels) {
    const { value } = this.select;
    const option = (label) =>
      make("option", { value: this.review.classes[label].value }, className(this.review, label));
    this.select.replaceChildren(...labels.map(option));
    if (value) this.select.value = value;
  }

  /** A second press takes the decision back. */
  press(kind) {
    const isPressed = this.decisions.entry(this.position)[1] === kind;
    this.decide(isPressed ? UNDECIDED : kind);
  }

  decide(kind) {
    const change = [this.position, kind, kind === RELABEL ? this.select.value : null];
    this.decisions.decide([change]);
    announce(`Training row ${this.row}: ${changeText(this.review, change)}.`);
  }

  show() {
    const [, kind, label] = this.decisions.entry(this.position);
    if (kind === RELABEL && this.select && this.select.value !== label) {
      this.offer(this.otherClasses());
      this.select.value = label;
    }
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", kind === i + 1);
      button.setAttribute("aria-label", `${button.textContent} (training row ${this.row})`);
    });
  }
}

function showCounts(decisions) {
  const counts = decisions.count().slice(KEEP);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const words = counts
    .map((count, i) => count && `${grouped(count)} ${DECISION_WORDS[i + 1]}`)
    .filter(Boolean);
  const state = total && (decisions.unexported ? "; not exported yet" : "; exported");
  byId("counts").textContent =
    plural(total, "decision") + (total ? `: ${words.join(", ")}${state}` : "");
  byId("export").disabled = total === 0;
}

function start() {
  const review = readReview(byId("review-data"));
  const decisions = new Decisions(review, openStorage());
  const places = [...document.querySelectorAll(".decide-buttons")].map(
    (place) => new DecisionButtons(place, review, decisions),
  );
  decisions.whenChanged = () => {
    for (const place of places) place.show();
    showCounts(decisions);
  };
  const showKept = () => {
    byId("kept-where").textContent = keptWhere(decisions);
  };
  decisions.whenLost = showKept;
  byId("export").addEventListener("click", () => {
    exportDecisions(review, decisions);
    announce(`${plural(decisions.decided().length, "decision")} exported.`);
  });
  byId("next-command").textContent = nextCommand(review);
  guardDecisions(decisions);
  showCounts(decisions);
  showKept();
  byId("decisions").hidden = false;
  document.documentElement.dataset.ready = "yes";
}

start();
