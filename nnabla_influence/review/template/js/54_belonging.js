// Whether decisions are about the rows of this ranking, by what stands beside each of them.

const LABEL_COLUMNS = ["given", "label_before"];
/** Names that tables of decisions have for other things than a row's own cells. */
const OTHER_COLUMNS = new Set([
  ...["datasource_index", "decision", "label", "influence", "influence_std", "times_seen", "loss"],
  ...["predicted", "predicted name", "given name", "orders", "rank", "effect", "differs"],
]);
const MOST_OWN_COLUMNS = 4;

/** A row's given label as the dataset has it. */
function givenCell(review, position) {
  const label = review.given?.[position];
  if (label === null || label === undefined || label === NO_CLASS) return "";
  return review.hasClasses ? review.classes[label].value : label;
}

/** The columns of a row that the page knows: [{name, isFile, cell(position)}, ...]. */
function ownColumns({ image_columns, files, features, comments }) {
  const columns = [];
  const add = (names, values, isFile) =>
    names.forEach((name, at) =>
      columns.push({ name, isFile, cell: (position) => values[position][at] }),
    );
  if (files) add(image_columns, files, true);
  if (features) add(features.names, features.values, false);
  if (comments) add(comments.names, comments.values, false);
  return columns;
}

/** What the export shows of a row's own cells: its files, or else the first features. */
function exportedColumns(review) {
  const own = ownColumns(review);
  const isNamed = ({ name }) =>
    !OTHER_COLUMNS.has(plainWord(name)) && !LABEL_COLUMNS.includes(name);
  const shown = own.some(({ isFile }) => isFile)
    ? own.filter(({ isFile }) => isFile)
    : own.filter(isNamed).slice(0, MOST_OWN_COLUMNS);
  return shown.map((column) => ({
    ...column,
    title: column.isFile ? `file ${column.name}` : column.name,
  }));
}

/** The columns of a table that tell of a row's own cells: [{at, cell(position)}, ...]. */
function tellingColumns(review, names) {
  const known = new Map();
  const add = (name, cell) => {
    if (!OTHER_COLUMNS.has(name)) known.set(name, known.has(name) ? null : cell);
  };
  for (const { name, isFile, cell } of ownColumns(review)) {
    add(plainWord(name), cell);
    if (isFile) add(plainWord(`file ${name}`), cell);
  }
  if (review.given)
    for (const name of new Set([...LABEL_COLUMNS, plainWord(review.label ?? "y")]))
      add(name, (position) => givenCell(review, position));
  return names.flatMap((title, at) => {
    const name = title.replace(/^'+/, "");
    const [variable, ...label] = name.split(":");
    const found = [name, variable, label.join(":")].find((part) => known.get(part));
    const isOnly = names.filter((other) => other === title).length === 1;
    return found && isOnly && !OTHER_COLUMNS.has(name) ? [{ at, cell: known.get(found) }] : [];
  });
}

/** Compares lines with rows: the problems, [[number of the line, text], ...]. */
function findContradictions(review, names, decided) {
  const columns = tellingColumns(review, names);
  const isOnly = names.indexOf("influence") === names.lastIndexOf("influence");
  const influenceAt = isOnly ? names.indexOf("influence") : -1;
  const problems = [];
  const doubts = [];
  let agreeing = columns;
  for (const { number, cells, position } of decided) {
    const row = review.index[position];
    const likeness = columns.map(({ at, cell }) => agrees(cells[at] ?? "", cell(position)));
    const other = likeness.indexOf(false);
    if (other >= 0) {
      const shown = cells[columns[other].at];
      problems.push([
        number,
        `“${shown}” is not the “${columns[other].cell(position)}” of row ${row}`,
      ]);
    } else if (isNear(cells[influenceAt] ?? "", review.influence[position]) === false) {
      doubts.push([number, `“${cells[influenceAt]}” is not the influence of row ${row}`, position]);
      agreeing = agreeing.filter((column) => likeness[columns.indexOf(column)]);
    }
  }
  const unclear = unclearRows(
    review,
    agreeing,
    doubts.map(([, , position]) => position),
  );
  for (const [number, text, position] of doubts) {
    if (unclear.has(position)) problems.push([number, text]);
  }
  return problems.map(([number, text]) => [number, `${text}; this is of another ranking`]);
}

/** Those of some rows whose cells in the columns other rows have, which differ elsewhere. */
function unclearRows(review, columns, positions) {
  if (!columns.length || !positions.length) return new Set(positions);
  const own = ownColumns(review);
  const key = (position) => JSON.stringify(columns.map(({ cell }) => cell(position)));
  const whole = (position) =>
    JSON.stringify([givenCell(review, position), ...own.map(({ cell }) => cell(position))]);
  const known = new Map(positions.map((position) => [key(position), whole(position)]));
  const shared = new Set();
  for (let position = 0; position < review.rowCount; position += 1) {
    const found = key(position);
    if (known.has(found) && known.get(found) !== whole(position)) shared.add(found);
  }
  return new Set(positions.filter((position) => shared.has(key(position))));
}
