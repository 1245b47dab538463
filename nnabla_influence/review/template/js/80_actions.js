// Decisions about rows, by key or by button.

class Actions {
  constructor({ review, decisions, view, list }) {
    Object.assign(this, { review, decisions, view, list });
    this.relabelDialog = review.canRelabel
      ? new RelabelDialog(review, (positions, label, skipped) =>
          this.relabel(positions, label, skipped),
        )
      : null;
  }

  /** Decides for the selected rows or the one in focus. */
  decide(kind, positions = this.list.targets()) {
    if (!positions.length || this.broughtIntoSight()) return;
    if (kind === PROPOSED) {
      this.accept(positions);
      return;
    }
    const changes = positions.map((position) => [position, kind, null]);
    if (kind === RELABEL) this.askForLabel(positions);
    else this.commit(changes, DECISION_WORDS[kind]);
  }

  /** Decides as is proposed for those of the rows that are undecided. */
  accept(positions) {
    const { decisions, review } = this;
    const changes = positions.map((position) => decisions.proposal(position)).filter(Boolean);
    if (!changes.length) announce("Nothing is proposed here.");
    else if (changes.length === 1) this.commit(changes, changeText(review, changes[0]));
    else this.commit(changes, "as proposed");
  }

  /** A row that was scrolled out of sight is brought back before it can be decided. */
  broughtIntoSight() {
    const { list } = this;
    if (list.selectedCount || list.isInSight(list.active)) return false;
    list.moveTo(list.active);
    const row = this.review.index[list.activePosition];
    announce(`Row ${row} is in focus; here it is. Nothing is decided yet.`);
    return true;
  }

  askForLabel(positions) {
    if (this.relabelDialog) this.relabelDialog.open(positions);
    else announce("This ranking has no column of labels that could be changed.");
  }

  relabel(positions, label, skipped) {
    const note = skipped ? ` ${plural(skipped, "row has", "rows have")} that label already.` : "";
    const changes = positions.map((position) => [position, RELABEL, label]);
    this.commit(changes, `relabel to ${newLabelText(this.review, label)}`, note);
  }

  commit(changes, words, note = "") {
    const one = changes.length === 1;
    this.decisions.decide(changes);
    const who = one ? `Row ${this.review.index[changes[0][0]]}` : plural(changes.length, "row");
    announce(`${who}: ${words}.${note}`);
    if (this.list.selectedCount) this.list.selectNone();
    if (one) this.moveOn(changes[0][0]);
  }

  /** After a decision the next row gets the focus, also where the decided one left the list. */
  moveOn(position) {
    const { list } = this;
    const isStillThere = list.activePosition === position;
    if (byId("advance").checked && isStillThere && list.active < list.length - 1) {
      list.moveTo(list.active + 1, { focus: list.hasFocus() });
    }
  }

  undo() {
    const positions = this.decisions.undo();
    if (!positions) return announce("There is nothing to undo.");
    const { review, decisions } = this;
    const [first, ...others] = positions;
    this.list.goTo(first);
    const row = `row ${review.index[first]} is ${decisionText(review, decisions, first)}`;
    return announce(`Undone: ${others.length ? plural(positions.length, "row") : row}.`);
  }
}
