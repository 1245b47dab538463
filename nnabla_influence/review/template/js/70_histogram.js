// The histogram of the scores; zero is always a border between two bars.

const BARS = 40;

class Histogram {
  constructor(review, whenChosen) {
    this.review = review;
    this.whenChosen = whenChosen;
    this.edges = edgesOf(review.influence);
    this.bar = Uint8Array.from(review.influence, (value) => this.barOf(value));
    this.all = this.countBars((position) => position, review.rowCount);
    this.draw();
    this.fillTable();
  }

  get bars() {
    return this.edges.length - 1;
  }

  barOf(value) {
    const { edges } = this;
    let low = 0;
    let high = edges.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  countBars(positionAt, count) {
    const counts = new Uint32Array(this.edges.length - 1);
    for (let i = 0; i < count; i += 1) counts[this.bar[positionAt(i)]] += 1;
    return counts;
  }

  draw() {
    const [width, height] = [320, 96];
    const each = width / this.bars;
    const rect = (i, kind) =>
      makeSvg("rect", {
        x: (i * each + 0.5).toFixed(2),
        width: Math.max(0.5, each - 1).toFixed(2),
        y: height,
        height: 0,
        class: `${kind} ${this.edges[i] < 0 ? "harmful" : "helpful"}`,
      });
    this.size = { width, height, each };
    this.back = Array.from(this.all, (_, i) => rect(i, "back"));
    this.front = Array.from(this.all, (_, i) => rect(i, "front"));
    this.band = makeSvg("rect", { class: "band", y: 0, height, x: 0, width: 0 });
    const zero = this.edges.indexOf(0) * each;
    this.svg = makeSvg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", preserveAspectRatio: "none" },
      this.band,
      ...this.back,
      ...this.front,
      makeSvg("line", { class: "zero", x1: zero, x2: zero, y1: 0, y2: height }),
    );
    const least = this.review.influence[0];
    const most = this.review.influence[this.review.rowCount - 1];
    const range = `from ${shortNumber(least)} to ${shortNumber(most)}`;
    this.svg.setAttribute(
      "aria-label",
      `Histogram of ${plural(this.review.rowCount, "score")} ${range};` +
        ` ${grouped(this.countHarmful())} are harmful.`,
    );
    byId("histogram").replaceChildren(this.svg, this.makeAxis(least, most, zero / width));
    this.setHeights(this.back, this.all);
    this.brush();
  }

  countHarmful() {
    return this.review.influence.reduce((sum, value) => sum + (value < 0), 0);
  }

  makeAxis(least, most, zero) {
    const middle = span("zero", "0");
    middle.style.left = `${100 * zero}%`;
    const near = zero < 0.42 || zero > 0.58;
    return make(
      "div",
      { className: "axis", "aria-hidden": "true" },
      span("harmful", least < 0 ? `${shortNumber(least)} harmful` : ""),
      near ? null : middle,
      span("helpful", most > 0 ? `helpful ${shortNumber(most)}` : ""),
    );
  }

  /** Heights grow with the logarithm, so that the few extreme rows can be seen beside the many. */
  setHeights(rects, counts) {
    const top = Math.log1p(Math.max(...this.all));
    rects.forEach((rect, i) => {
      const height = ((this.size.height - 4) * Math.log1p(counts[i])) / top;
      rect.setAttribute("y", (this.size.height - height).toFixed(2));
      rect.setAttribute("height", height.toFixed(2));
    });
  }

  /** Shows which of the scores are those of the rows shown, and the range chosen. */
  show(shown, { from, to }) {
    this.setHeights(
      this.front,
      this.countBars((i) => shown[i], shown.length),
    );
    const isRange = from !== -Infinity || to !== Infinity;
    this.setBand(isRange ? this.place(from) : 0, isRange ? this.place(to) : 0);
  }

  setBand(left, right) {
    this.band.setAttribute("x", left);
    this.band.setAttribute("width", Math.max(0, right - left));
  }

  place(value) {
    const first = this.edges[0];
    const last = this.edges[this.bars];
    return this.size.width * Math.max(0, Math.min(1, (value - first) / (last - first)));
  }

  /** A range of scores is chosen by drawing across the bars; a click takes one bar. */
  brush() {
    let start = null;
    const barAt = (event) => {
      const box = this.svg.getBoundingClientRect();
      const part = (event.clientX - box.left) / box.width;
      return Math.max(0, Math.min(this.bars - 1, Math.floor(part * this.bars)));
    };
    const range = (event) => [Math.min(start, barAt(event)), Math.max(start, barAt(event)) + 1];
    this.svg.addEventListener("pointerdown", (event) => {
      start = barAt(event);
      this.svg.setPointerCapture(event.pointerId);
      this.setBand(...range(event).map((edge) => edge * this.size.each));
      event.preventDefault();
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (start !== null) this.setBand(...range(event).map((edge) => edge * this.size.each));
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [first, last] = range(event);
      start = null;
      this.whenChosen(
        first === 0 ? -Infinity : this.edges[first],
        last === this.bars ? Infinity : this.edges[last],
      );
    });
    this.svg.addEventListener("pointercancel", () => {
      start = null;
    });
  }

  fillTable() {
    const rows = Array.from(this.all, (count, i) => [i, count]).filter(([, count]) => count > 0);
    const limits = (i) => [shortNumber(this.edges[i]), shortNumber(this.edges[i + 1])];
    const lines = rows.map(([i, count]) => [...limits(i), grouped(count)]);
    fillTable(byId("histogram-table"), ["from", "to", "rows"], lines);
  }
}

/** Borders of bars of one width over all scores (sorted ascending), one of them at zero. */
function edgesOf(influence) {
  const least = Math.min(0, influence[0]);
  const most = Math.max(0, influence[influence.length - 1]);
  const width = (most - least) / (BARS - 1) || 1;
  const below = Math.ceil(-least / width);
  const above = Math.max(1, Math.ceil(most / width));
  return Float64Array.from({ length: below + above + 1 }, (_, i) => (i - below) * width);
}
