// How wide the columns are, and how a row stands where there is too little room for all of them.

const GAP = 0.375;
const PADDING = 1;

class Widths {
  constructor(review, columns) {
    this.pictures = Math.min(review.image_columns.length, MOST_PICTURES);
    this.hasFeatures = Boolean(review.features);
    // By column its least width in rem, and its share of what is left.
    this.all = columns.map(([key]) => [key, ...this.width(review, key)]);
    this.sized = [
      ["tight", this.all.filter(([key]) => key !== "about" || this.hasFeatures)],
      ["wide", this.all],
    ];
    byId("rows").classList.toggle("tabular", this.hasFeatures);
    byId("rows").classList.toggle("pictured", this.pictures > 0);
  }

  width(review, key) {
    return {
      rank: [review.rowCount > 10_000 ? 4.75 : 4.25, 0],
      pictures: [0, 0],
      labels: [this.hasFeatures ? 9 : 7.75, 1.3],
      influence: [9.5, 1],
      loss: [4.75, 0],
      about: this.hasFeatures ? [9, 3] : [review.comments ? 8 : 5, 0.8],
      decision: [review.canRelabel ? 12.25 : 8.5, 0],
    }[key];
  }

  /** Chooses the form of the rows for a width in pixels: wide, tight, or stacked in lines. */
  choose(pixels) {
    const style = getComputedStyle(document.documentElement);
    const rem = parseFloat(style.fontSize);
    const picture = this.pictures * (parseFloat(style.getPropertyValue("--thumb")) / rem + 0.5);
    let form = "stacked";
    for (const [name, columns] of this.sized) {
      const least = columns.reduce((sum, [, width]) => sum + width + GAP, PADDING + picture - GAP);
      if (least * rem <= pixels) {
        form = name;
        byId("grid").style.setProperty(
          "--columns",
          columns.map((column) => this.track(column)).join(" "),
        );
      }
    }
    for (const name of ["stacked", "tight", "wide"])
      byId("rows").classList.toggle(name, name === form);
  }

  track([key, least, share]) {
    if (key === "pictures") return "calc((var(--thumb) + 0.5rem) * var(--pictures))";
    return share ? `minmax(${least}rem, ${share}fr)` : `${least}rem`;
  }
}
