// Influence summed by a column of the CSV, the most harmful group first; a click filters.

class GroupTable {
  constructor({ name, lines }, whenChosen) {
    byId("groups-section").hidden = false;
    byId("groups-heading").textContent = `By ${name}`;
    this.buttons = lines.map(({ value }, group) => {
      const title = value || "(empty)";
      const settings = { type: "button", className: "quiet", "aria-pressed": "false", title };
      const button = make("button", settings, title);
      button.addEventListener("click", () => whenChosen(group));
      return button;
    });
    fillTable(
      byId("groups"),
      ["Group", "Rows", "Harmful", "Sum", "Mean ± 95 %"],
      lines.map((line, group) => [
        this.buttons[group],
        grouped(line.rows),
        grouped(line.harmful),
        shortNumber(line.sum, 2),
        meanAndMargin(line),
      ]),
    );
  }

  showChosen(chosen) {
    this.buttons.forEach((button, group) => button.setAttribute("aria-pressed", group === chosen));
  }
}

/** The mean and its interval, coloured where that is wholly below or above 0. */
function meanAndMargin({ mean, margin }) {
  const text = shortNumber(mean, 2);
  if (margin === null) return text;
  const isSure = Math.abs(mean) > margin;
  const kind = !isSure ? "" : mean < 0 ? "harmful" : "helpful";
  return span(kind, `${text} ± ${shortNumber(margin, 2)}`);
}
