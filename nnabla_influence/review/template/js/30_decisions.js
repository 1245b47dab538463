// The decisions, with undo, and their storage in the browser.

const STORAGE_PREFIX = "nnabla-influence review ";

/** The browser's storage, or null where it is forbidden or missing. */
function openStorage() {
  try {
    const storage = window.localStorage;
    storage.setItem(`${STORAGE_PREFIX}trial`, "1");
    storage.removeItem(`${STORAGE_PREFIX}trial`);
    return storage;
  } catch {
    return null;
  }
}

function remember(storage, name, value) {
  try {
    storage?.setItem(STORAGE_PREFIX + name, value);
  } catch {
    // A lost setting of the page does no harm.
  }
}

function recall(storage, name) {
  try {
    return storage?.getItem(STORAGE_PREFIX + name) ?? null;
  } catch {
    return null;
  }
}

class Decisions {
  constructor(review, storage) {
    this.review = review;
    this.storage = storage;
    this.kind = new Uint8Array(review.rowCount);
    this.unexported = false;
    this.whenChanged = () => {};
    this.whenLost = () => {};
    this.labels = new Map();
    this.past = [];
    this.restore();
  }

  label(position) {
    return this.labels.get(position) ?? null;
  }

  /** How many rows are undecided, kept, removed, relabelled. */
  count() {
    const counts = [0, 0, 0, 0];
    for (const kind of this.kind) counts[kind] += 1;
    return counts;
  }

  /** Decides for rows at once: [[position, kind, label or null], ...]; one step of undo. */
  decide(changes) {
    const before = changes.map(([position]) => this.entry(position));
    const changed = changes.some(
      (change, i) => change[1] !== before[i][1] || change[2] !== before[i][2],
    );
    if (!changed) return false;
    this.past.push(before);
    this.apply(changes);
    return true;
  }

  /** Takes the last step back; returns its positions, or null. */
  undo() {
    const before = this.past.pop();
    if (!before) return null;
    this.apply(before);
    return before.map(([position]) => position);
  }

  entry(position) {
    return [position, this.kind[position], this.label(position)];
  }

  /** What is proposed for a row that is still undecided, as a change; else null. */
  proposal(position) {
    if (this.kind[position] !== UNDECIDED) return null;
    return this.review.proposed.get(position) ?? null;
  }

  /** The proposals that are neither accepted nor decided otherwise. */
  openProposals() {
    return [...this.review.proposed.keys()].map((p) => this.proposal(p)).filter(Boolean);
  }

  /** The decided rows in the order of their numbers. */
  decided() {
    const rows = [];
    this.kind.forEach((kind, position) => {
      if (kind) rows.push(position);
    });
    return rows.sort((a, b) => this.review.index[a] - this.review.index[b]);
  }

  markExported() {
    this.unexported = false;
    this.save();
    this.whenChanged([]);
  }

  apply(changes) {
    for (const change of changes) this.put(...change);
    this.unexported = this.kind.some((kind) => kind !== UNDECIDED);
    this.save();
    this.whenChanged(changes.map(([position]) => position));
  }

  put(position, kind, label) {
    this.kind[position] = kind;
    if (kind === RELABEL) this.labels.set(position, label);
    else this.labels.delete(position);
  }

  save() {
    if (!this.storage) return;
    const rows = {};
    for (const position of this.decided()) {
      const label = this.label(position);
      const word = DECISION_WORDS[this.kind[position]];
      rows[this.review.index[position]] = label === null ? word : [word, label];
    }
    const text = JSON.stringify({ format: 1, unexported: this.unexported, rows });
    try {
      this.storage.setItem(STORAGE_PREFIX + this.review.key, text);
    } catch {
      this.storage = null;
      this.whenLost();
    }
  }

  /** Reads what another tab has decided; what was done here can still be undone. */
  merge() {
    const before = Array.from(this.kind, (_, position) => this.entry(position));
    this.restore();
    const isSame = ([position, kind, label]) =>
      this.kind[position] === kind && this.label(position) === label;
    const others = new Set(before.filter((entry) => !isSame(entry)).map(([position]) => position));
    this.past = this.past
      .map((step) => step.filter(([position]) => !others.has(position)))
      .filter((step) => step.length);
    this.whenChanged([...others]);
  }

  /** Reads what the browser has stored. */
  restore() {
    this.kind.fill(UNDECIDED);
    this.labels.clear();
    const text = recall(this.storage, this.review.key);
    if (text === null) return;
    try {
      const kept = JSON.parse(text);
      this.unexported = Boolean(kept.unexported);
      for (const [row, entry] of Object.entries(kept.rows)) this.restoreRow(Number(row), entry);
    } catch {
      this.kind.fill(UNDECIDED); // Not ours, or damaged: begin anew.
      this.labels.clear();
    }
  }

  restoreRow(row, entry) {
    const position = this.review.positionOf.get(row);
    const [word, label] = Array.isArray(entry) ? entry : [entry, null];
    const kind = DECISION_WORDS.indexOf(word);
    if (position !== undefined && kind > 0) this.put(position, kind, label);
  }
}

function keptWhere({ storage }) {
  return storage === null
    ? "Kept only while this page is open; nothing is sent."
    : "Kept in this browser only; nothing is sent.";
}

/** Follows other tabs; without storage, the browser asks before decisions are lost. */
function guardDecisions(decisions) {
  addEventListener("storage", (event) => {
    if (event.key === STORAGE_PREFIX + decisions.review.key) decisions.merge();
  });
  addEventListener("beforeunload", (event) => {
    if (decisions.storage === null && decisions.unexported) event.preventDefault();
  });
}
