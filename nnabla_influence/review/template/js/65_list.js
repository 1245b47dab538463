// The list of rows. Only those in sight are in the document; the focused one stays in it always.

const OVERSCAN = 4;
// Browsers cut elements that are higher than some 17 million pixels.
const TALLEST = 12e6;

class List {
  constructor(review, decisions, view) {
    this.review = review;
    this.decisions = decisions;
    this.view = view;
    this.columns = listColumns(review);
    this.viewport = byId("viewport");
    this.grid = byId("grid");
    this.body = byId("grid-body");
    this.rows = new Map();
    this.spare = [];
    this.active = 0;
    this.anchor = 0;
    this.selected = new Uint8Array(review.rowCount);
    this.selectedCount = 0;
    this.whenMoved = () => {};
    this.whenSelected = () => {};
    const tight = this.columns.filter(([key]) => key !== "about");
    this.grid.style.setProperty("--columns", columnTracks(review, this.columns));
    this.grid.style.setProperty("--tight-columns", columnTracks(review, tight));
    // In rem, the width below which the cells of a row are stacked.
    this.least = (review.features ? 51 : 46) - (review.loss ? 0 : 5) + 2 * mostHeatMaps(review);
    byId("rows").classList.toggle("tabular", Boolean(review.features));
    byId("rows").classList.toggle("pictured", review.image_columns.length > 0);
    this.viewport.addEventListener("scroll", () => this.paintSoon(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(this.viewport);
  }

  get length() {
    return this.view.shown.length;
  }

  get activePosition() {
    return this.length ? this.view.shown[this.active] : -1;
  }

  hasFocus() {
    return this.viewport.contains(document.activeElement);
  }

  /** Shows the rows of the view; the focus stays on its row, or at its place. */
  reload({ keep = "place" } = {}) {
    const hadFocus = this.hasFocus();
    const wanted = keep === "top" ? 0 : this.active;
    for (const row of this.rows.values()) this.release(row);
    this.rows.clear();
    this.active = Math.max(0, Math.min(wanted, this.length - 1));
    this.anchor = this.active;
    this.grid.setAttribute("aria-rowcount", this.length + 1);
    this.grid.hidden = this.length === 0;
    byId("empty").hidden = this.length > 0;
    if (keep === "top") this.viewport.scrollTop = 0;
    this.measure();
    this.paint();
    if (hadFocus) this.focus();
    this.whenMoved();
  }

  /** Shows the row at this position of the ranking, if it is among those shown. */
  goTo(position) {
    const index = this.view.shown.indexOf(position);
    if (index >= 0) this.moveTo(index);
    return index >= 0;
  }

  moveTo(index, { extend = false, focus = true } = {}) {
    if (!this.length) return;
    this.active = Math.max(0, Math.min(index, this.length - 1));
    if (extend) this.selectRange(this.anchor, this.active);
    else this.anchor = this.active;
    this.bringIntoSight(this.active);
    this.paint();
    if (focus) this.focus();
    this.whenMoved();
  }

  focus() {
    const row = this.rows.get(this.active);
    if (row && this.length) row.element.focus({ preventScroll: true });
    else byId(this.length ? "grid" : "empty-clear").focus({ preventScroll: true });
  }

  // ---- selection

  selectRange(from, to) {
    this.selected.fill(0);
    const [first, last] = from < to ? [from, to] : [to, from];
    for (let index = first; index <= last; index += 1) this.selected[this.view.shown[index]] = 1;
    this.selectionChanged();
  }

  toggle(index) {
    const position = this.view.shown[index];
    this.selected[position] = 1 - this.selected[position];
    this.anchor = index;
    this.selectionChanged();
  }

  selectAll() {
    this.selected.fill(0);
    for (const position of this.view.shown) this.selected[position] = 1;
    this.selectionChanged();
  }

  selectNone() {
    if (!this.selectedCount) return;
    this.selected.fill(0);
    this.selectionChanged();
  }

  selectionChanged() {
    this.selectedCount = this.selected.reduce((sum, one) => sum + one, 0);
    this.refreshStates();
    this.whenSelected(this.selectedCount);
  }

  /** The rows that a decision is for: the selected ones, or else the one in focus. */
  targets() {
    if (this.selectedCount)
      return Array.from(this.view.shown).filter((position) => this.selected[position]);
    return this.length ? [this.activePosition] : [];
  }

  // ---- painting

  resize() {
    this.measure();
    if (this.hasFocus()) this.bringIntoSight(this.active);
    this.paint();
  }

  measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const spare = this.viewport.clientWidth / rem - this.least;
    byId("rows").classList.toggle("tight", spare < 8);
    byId("rows").classList.toggle("stacked", spare < 0);
    this.rowHeight = Math.max(
      1,
      Math.ceil(parseFloat(getComputedStyle(byId("row-height")).height)),
    );
    this.headHeight = this.grid.querySelector(".grid-head").offsetHeight;
    this.sight = Math.max(this.rowHeight, this.viewport.clientHeight - this.headHeight);
    const whole = this.length * this.rowHeight;
    this.tall = Math.min(whole, TALLEST);
    // Above the tallest height the scroll bar stands for more than it has pixels.
    this.stretch = whole > this.tall ? (whole - this.sight) / (this.tall - this.sight) : 1;
    this.body.style.height = `${this.tall}px`;
    this.grid.style.setProperty("--height", `${this.rowHeight}px`);
  }

  bringIntoSight(index) {
    const top = index * this.rowHeight;
    const scrolled = this.viewport.scrollTop * this.stretch;
    if (top < scrolled) this.viewport.scrollTop = top / this.stretch;
    else if (top + this.rowHeight > scrolled + this.sight) {
      this.viewport.scrollTop = Math.ceil((top + this.rowHeight - this.sight) / this.stretch);
    }
  }

  isInSight(index) {
    const top = index * this.rowHeight - this.viewport.scrollTop * this.stretch;
    return top > -this.rowHeight / 2 && top < this.sight - this.rowHeight / 2;
  }

  paintSoon() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }

  paint() {
    if (!this.length) return;
    const scrolled = this.viewport.scrollTop;
    const first = Math.max(0, Math.floor((scrolled * this.stretch) / this.rowHeight) - OVERSCAN);
    const fitting = Math.ceil(this.sight / this.rowHeight) + 2 * OVERSCAN;
    const last = Math.min(this.length, first + fitting);
    for (const [index, row] of this.rows) {
      const kept = (index >= first && index < last) || index === this.active;
      if (!kept) {
        this.rows.delete(index);
        this.release(row);
      }
    }
    for (let index = first; index < last; index += 1) this.show(index);
    this.show(this.active);
    for (const [index, row] of this.rows) this.place(row, index, scrolled);
    this.refreshStates();
  }

  show(index) {
    if (this.rows.has(index)) return;
    const row = this.spare.pop() ?? new Row(this.review, this.decisions, this.columns);
    row.fillWith(index, this.view.shown[index]);
    row.element.hidden = false;
    if (!row.element.isConnected) this.body.append(row.element);
    row.element.row = row;
    this.rows.set(index, row);
  }

  place(row, index, scrolled) {
    let top = index * this.rowHeight;
    if (this.stretch > 1) top += scrolled * (1 - this.stretch);
    row.element.style.top = `${Math.max(-this.rowHeight, Math.min(top, this.tall))}px`;
  }

  release(row) {
    row.element.hidden = true;
    this.spare.push(row);
  }

  refreshStates() {
    for (const [index, row] of this.rows) {
      row.setState(index === this.active, this.selected[row.position] === 1);
    }
  }

  refreshDecisions() {
    for (const row of this.rows.values()) row.fillDecision();
  }
}
