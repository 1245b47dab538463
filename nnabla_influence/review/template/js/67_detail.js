// The row in focus with everything that is known of it: beside the list, or in a dialog.

function detailParts(review, decisions, position) {
  const word = signWord(review, position);
  const parts = [];
  const sources = review.thumbnails[position] ?? [];
  const attributions = attributionParts(review, position);
  if (sources.length) {
    const pictures = sources.map((source) => picture(source, review.index[position]));
    parts.push(make("div", { className: "large-pictures" }, ...pictures), ...attributions);
  }
  parts.push(
    make("p", { className: `verdict ${word}` }, make("b", {}, word), `: ${CONSEQUENCES[word]}`),
  );
  parts.push(factList(mainFacts(review, decisions, position)));
  const features = review.features?.values[position];
  if (features) {
    parts.push(
      make("h3", {}, "Features"),
      factList(features.map((value, i) => [review.features.names[i], value])),
    );
    const more = review.features.more_features;
    const text = `${plural(more, "more feature")} in the ranking CSV.`;
    if (more) parts.push(make("p", { className: "hint" }, text));
  }
  if (!sources.length) parts.push(...attributions);
  return parts;
}

function mainFacts(review, decisions, position) {
  const facts = [
    ["Rank", `${grouped(position + 1)} of ${grouped(review.rowCount)}`],
    ["Row", String(review.index[position])],
  ];
  if (review.given) facts.push(["Given label", labelText(review, review.given, position)]);
  if (review.predicted) {
    const sign = review.differs?.[position] ? " (differs)" : "";
    facts.push(["Predicted label", labelText(review, review.predicted, position) + sign]);
  }
  if (review.other) {
    const isFirm = suggestedClass(review, position) !== NO_CLASS;
    const title = isFirm ? "Suggested label" : "Best other label";
    facts.push([title, className(review, review.other[position])]);
  }
  if (review.gain) facts.push(["Gain by that label", fullNumber(review.gain[position])]);
  facts.push(["Influence", fullNumber(review.influence[position])]);
  if (review.standardError)
    facts.push(["Its standard error", fullNumber(review.standardError[position])]);
  if (review.harmfulIn) facts.push(["Trainings", trainingsText(review, position)]);
  if (review.std) facts.push(["Its std over trials", fullNumber(review.std[position])]);
  if (review.loss) facts.push(["Loss", fullNumber(review.loss[position])]);
  if (review.seen) facts.push(["Seen by the traced steps", plural(review.seen[position], "time")]);
  for (const [name, cell] of rowComments(review, position)) facts.push([name, cell || "–"]);
  const files = review.files?.[position] ?? [];
  files.forEach((file, i) => {
    facts.push([files.length > 1 ? `File ${review.image_columns[i]}` : "File", file]);
  });
  facts.push(["Decision", decisionText(review, decisions, position)]);
  return facts;
}

function factList(facts) {
  const line = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  return make("dl", {}, ...facts.map(line));
}

function showDetail(review, decisions, position) {
  byId("detail-body").replaceChildren(
    ...(position < 0
      ? [make("p", { className: "hint" }, "No row is shown.")]
      : detailParts(review, decisions, position)),
  );
}

function openDetail(review, decisions, position) {
  byId("detail-dialog-heading").textContent = `Row ${review.index[position]}`;
  byId("detail-dialog-body").replaceChildren(...detailParts(review, decisions, position));
  openDialog(byId("detail-dialog"));
}
