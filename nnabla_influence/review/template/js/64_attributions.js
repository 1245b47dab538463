// Which parts of a row made the score of its given and of its predicted class.

function attributionsOf(review, position) {
  return review.attributions?.[position] ?? [];
}

/** A heat map with its caption; its class, method and warning are also said of the image. */
function heatMap(review, position, one, ...caption) {
  const about = [one.about, one.warning].filter(Boolean).join("; ");
  const what = `heat map for ${attributedClass(review, one)} (${about})`;
  const image = picture(one.picture, review.index[position], what);
  image.title = about;
  return make("figure", {}, image, make("figcaption", {}, ...caption));
}

/** The heat maps of a row in the list. */
function smallHeatMaps(review, position) {
  return attributionsOf(review, position)
    .filter((one) => one.picture)
    .map((one) => {
      const short = one.of.includes("and") ? "both" : one.of;
      return heatMap(review, position, one, one.warning ? `⚠ ${short}` : short);
    });
}

/** How many of them a row has at most. */
function mostHeatMaps({ attributions = [] }) {
  const count = (row) => row.filter((one) => one.picture).length;
  return attributions.reduce((most, row) => Math.max(most, count(row)), 0);
}

function attributedClass(review, one) {
  return `${one.of} ${newLabelText(review, one.class_)}`;
}

/** The heat maps, or the weights of features, in the detail of a row. */
function attributionParts(review, position) {
  const found = attributionsOf(review, position);
  if (!found.length) return [];
  const made = found.map((one) => {
    const lines = [
      make("b", {}, attributedClass(review, one)),
      span("small", one.about),
      one.warning ? make("strong", {}, `⚠ ${one.warning}`) : null,
    ];
    if (one.picture) return heatMap(review, position, one, ...lines);
    const weights = one.features.map(([name, weight]) => [name, shortNumber(weight)]);
    return make("div", { className: "weights" }, ...lines, factList(weights));
  });
  return [
    make("h3", {}, "What made the score of a class"),
    make("div", { className: "attributions" }, ...made),
    ...(found[0].legend ? [make("p", { className: "hint" }, found[0].legend)] : []),
  ];
}
