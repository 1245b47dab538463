// One row of the list: its cells, made once and filled again as the list scrolls.

const MOST_PICTURES = 3;

/** The columns that this ranking has: [key, title, sort orders that a click on it takes]. */
function listColumns(review) {
  const byLabels = review.differs ? ["differs"] : review.error ? ["error"] : [];
  const about =
    (review.features && "Features") || (review.comments && "Comments") || (review.files && "File");
  return [
    ["rank", "Rank", []],
    review.image_columns.length && ["pictures", "Picture", []],
    (review.given || review.predicted) && ["labels", "Labels", byLabels],
    ["influence", "Influence", ["harmful", "helpful"]],
    review.loss && ["loss", "Loss", ["loss", "loss-up"]],
    about && ["about", about, []],
    ["decision", "Decision", []],
  ].filter(Boolean);
}

/** The least width of each column, and its share of what is left, as CSS. */
function columnTracks(review, columns) {
  const tracks = {
    rank: review.rowCount > 10_000 ? "4.75rem" : "4.25rem",
    pictures: "minmax(2.5rem, calc((var(--thumb) + 0.5rem) * (var(--pictures) + var(--heat-maps))))",
    labels: `minmax(${review.features ? 9 : 7.75}rem, 1.3fr)`,
    influence: "minmax(9.5rem, 1fr)",
    loss: "4.75rem",
    about: review.features
      ? "minmax(8rem, 3fr)"
      : `minmax(${review.comments ? 8 : 5}rem, 0.8fr)`,
    decision: review.canRelabel ? "12.25rem" : "8.5rem",
  };
  return columns.map(([key]) => tracks[key]).join(" ");
}

class Row {
  constructor(review, decisions, columns) {
    this.review = review;
    this.decisions = decisions;
    this.cells = {};
    this.element = make("div", { role: "row", className: "row", tabIndex: -1 });
    this.index = -1;
    this.position = -1;
    for (const [key] of columns) {
      this.cells[key] = make("div", { role: "gridcell", className: `cell ${key}` });
      this.element.append(this.cells[key]);
    }
    this.makeRank();
    this.makeInfluence();
    this.makeDecision();
  }

  makeRank() {
    this.mark = make("span", { className: "tick", "aria-hidden": "true" });
    this.rank = make("b", { className: "rank-number" });
    this.number = span("small");
    this.cells.rank.append(span("line", this.mark, this.rank), this.number);
  }

  makeInfluence() {
    this.word = make("b");
    this.value = span("value");
    this.spread = span("value small");
    this.fill = span("fill");
    this.consequence = span("small consequence");
    this.cells.influence.append(
      span("line", this.word, " ", this.value, " ", this.spread),
      make("span", { className: "meter", "aria-hidden": "true" }, this.fill),
      this.consequence,
    );
  }

  makeDecision() {
    this.buttons = [KEEP, REMOVE, RELABEL].map((kind) => {
      const word = DECISION_WORDS[kind];
      const settings = { type: "button", tabIndex: -1, className: `decide ${word}` };
      const title = word.replace(/^./, (letter) => letter.toUpperCase());
      return make("button", { ...settings, "data-decide": kind }, title);
    });
    this.buttons[2].hidden = !this.review.canRelabel;
    this.becomes = span("small becomes");
    this.accept = make("button", {
      type: "button",
      tabIndex: -1,
      className: "decide proposal",
      "data-decide": PROPOSED,
    });
    this.cells.decision.append(
      make("div", { className: "decide-buttons" }, ...this.buttons),
      this.becomes,
      this.accept,
    );
  }

  /** Shows the row at a position of the ranking. */
  fillWith(index, position) {
    this.index = index;
    this.position = position;
    const { review } = this;
    this.element.dataset.row = review.index[position];
    this.element.setAttribute("aria-rowindex", index + 2);
    this.rank.textContent = grouped(position + 1);
    this.number.textContent = `row ${review.index[position]}`;
    this.fillInfluence();
    if (this.cells.pictures) this.fillPictures();
    if (this.cells.labels) this.fillLabels();
    if (this.cells.loss) this.fillLoss();
    this.fillAbout();
    this.fillDecision();
  }

  fillInfluence() {
    const { review, position } = this;
    const word = signWord(review, position);
    const value = review.influence[position];
    this.word.textContent = word;
    this.word.className = word === "harmful" || word === "helpful" ? word : "neutral";
    this.value.textContent = shortNumber(value);
    if (review.standardError)
      this.spread.textContent = `± ${shortNumber(review.standardError[position], 2)}`;
    this.consequence.textContent = review.harmfulIn
      ? trainingsText(review, position)
      : CONSEQUENCES[word];
    this.fill.className = `fill ${this.word.className}`;
    this.fill.style.width = `${50 * Math.sqrt(Math.abs(value) / review.largest)}%`;
  }

  fillPictures() {
    const { review, position } = this;
    const sources = review.thumbnails[position];
    this.cells.pictures.replaceChildren(
      ...(sources
        ? sources.slice(0, MOST_PICTURES).map((source) => picture(source, review.index[position]))
        : [span("small no-picture", "no picture here")]),
      ...smallHeatMaps(review, position),
    );
  }

  fillLabels() {
    const { review, position } = this;
    const differs = review.differs?.[position] === 1;
    const lines = [];
    if (review.given) lines.push(labelLine("given", labelText(review, review.given, position)));
    if (review.predicted)
      lines.push(labelLine("predicted", labelText(review, review.predicted, position)));
    if (differs) lines.push(span("differs", "≠ differ"));
    if (review.error) lines.push(span("small", `off by ${shortNumber(review.error[position])}`));
    this.cells.labels.replaceChildren(...lines);
    this.cells.labels.classList.toggle("disagree", differs);
  }

  fillLoss() {
    const { review, position } = this;
    this.cells.loss.replaceChildren(
      span("small narrow-only", "loss "),
      shortNumber(review.loss[position]),
    );
  }

  fillAbout() {
    const { review, position } = this;
    if (!this.cells.about) return;
    const lines = [];
    for (const [name, cell] of rowComments(review, position))
      lines.push(fact("comment", name, cell));
    const features = review.features?.values[position];
    if (features) {
      const { names } = review.features;
      const facts = features.map((value, i) => fact("feature", names[i], shortCell(value)));
      lines.push(span("features", ...facts));
    }
    const files = review.files?.[position] ?? [];
    if (files.length)
      lines.push(
        make("span", { className: "small file", title: files.join("\n") }, files.join(", ")),
      );
    this.cells.about.replaceChildren(...lines);
  }

  /** The decision, the selection and the focus; quick, since each key press calls it. */
  fillDecision() {
    const { decisions, position, review } = this;
    const kind = decisions.kind[position];
    this.element.dataset.decision = DECISION_WORDS[kind];
    this.element.setAttribute("aria-label", rowSentence(review, decisions, position));
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", kind === i + 1);
      button.setAttribute("aria-label", `${button.textContent} row ${review.index[position]}`);
    });
    this.fillProposal(kind);
  }

  /** Below the buttons: the new label, or what is proposed or suggested. */
  fillProposal(kind) {
    const { decisions, position, review } = this;
    const proposal = decisions.proposal(position);
    const suggested = suggestedClass(review, position);
    let becomes = "";
    if (kind === RELABEL) becomes = `→ ${newLabelText(review, decisions.label(position))}`;
    else if (kind === UNDECIDED && suggested !== NO_CLASS)
      becomes = `suggested ${className(review, suggested)}`;
    this.becomes.textContent = proposal ? "" : becomes;
    this.accept.hidden = !proposal;
    if (!proposal) return;
    const text = changeText(review, proposal);
    this.accept.textContent = `Proposed: ${text.replace("relabel to", "→")}`;
    this.accept.title = `Accept: ${text}`;
    this.accept.setAttribute("aria-label", `Accept for row ${review.index[position]}: ${text}`);
  }

  setState(isActive, isSelected) {
    this.element.tabIndex = isActive ? 0 : -1;
    this.element.classList.toggle("active", isActive);
    this.element.setAttribute("aria-selected", isSelected);
    this.mark.textContent = isSelected ? "✓" : "";
    for (const button of [...this.buttons, this.accept]) button.tabIndex = isActive ? 0 : -1;
  }
}

/** A thumbnail, or words in its place; small pictures are enlarged with their pixels kept sharp. */
function picture(source, row, what = "training picture") {
  if (!source) return span("small no-picture", "picture cannot be read");
  const image = make("img", {
    src: source,
    alt: `${what} of row ${row}`,
    decoding: "async",
    draggable: false,
  });
  image.addEventListener("load", () => {
    const isSmall = Math.max(image.naturalWidth, image.naturalHeight) <= 64;
    image.classList.toggle("pixels", isSmall);
  });
  return image;
}

function labelLine(name, text) {
  return span("line label", span("small", `${name} `), make("b", { title: text }, text));
}

function fact(kind, name, value) {
  return span(kind, span("small", `${name} `), value || "–", " ");
}

function shortCell(text) {
  const number = text.length > 8 ? parseNumber(text) : NaN;
  return Number.isFinite(number) ? shortNumber(number) : text;
}

function rowComments(review, position) {
  const { names = [], values = [] } = review.comments ?? {};
  return names.map((name, i) => [name.replace(/^#/, ""), values[position][i]]);
}
