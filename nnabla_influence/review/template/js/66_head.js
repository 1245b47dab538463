// The head of the list and the choice of the order: two ways to the same thing.

function setUpSorting(review, view, list) {
  const select = byId("sort");
  for (const [key, words] of sortOrders(review))
    select.append(make("option", { value: key }, words));
  const heads = list.columns.map(([key, title, keys]) => makeHead(key, title, keys));
  byId("head").replaceChildren(...heads.map(({ element }) => element));

  function sortBy(key) {
    const hadList = list.hasFocus();
    const position = list.activePosition;
    view.sort = key;
    select.value = key;
    view.refresh();
    list.reload({ keep: "top" });
    for (const head of heads) head.show(key);
    announce(`Sorted: ${select.selectedOptions[0].textContent}.`);
    if (hadList && position >= 0) list.focus();
  }

  function makeHead(column, title, keys) {
    const element = make("div", { role: "columnheader", className: `cell head-${column}` });
    if (!keys.length) {
      element.textContent = title;
      return { element, show() {} };
    }
    const sign = make("span", { "aria-hidden": "true", className: "sign" });
    const button = make("button", { type: "button", className: "quiet" }, title, " ", sign);
    button.addEventListener("click", () =>
      sortBy(keys.find((key) => key !== view.sort) ?? keys[0]),
    );
    element.append(button);
    return {
      element,
      show(key) {
        showOrder(element, sign, key, keys);
      },
    };
  }

  select.addEventListener("change", () => sortBy(select.value));
  for (const head of heads) head.show(view.sort);
  return sortBy;
}

const ASCENDING = new Set(["harmful", "loss-up", "row"]);

function showOrder(element, sign, key, keys) {
  if (!keys.includes(key)) {
    element.removeAttribute("aria-sort");
    sign.textContent = "";
    return;
  }
  element.setAttribute("aria-sort", ASCENDING.has(key) ? "ascending" : "descending");
  sign.textContent = ASCENDING.has(key) ? "▲" : "▼";
}
