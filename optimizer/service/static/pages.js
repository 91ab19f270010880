"use strict";
// What every page does: buttons that ask the API, that copy, that launch; tables that sort; choices kept over a refresh.

const chosen = new Set();

function say(text) {
  document.querySelector("#said").textContent = text;
}

async function ask(url, body, method = "POST") {
  const answer = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.detail || `the service answered ${answer.status}`);
  return said;
}

function complain(button, message) {
  let place = button.parentElement.querySelector(".failed.here");
  if (!place) {
    place = document.createElement("p");
    place.className = "failed here";
    place.setAttribute("role", "alert");
    button.after(place);
  }
  place.textContent = message;
}

async function busy(button, deed) {
  button.disabled = true;
  try {
    await deed();
  } catch (error) {
    button.disabled = false;
    complain(button, error instanceof TypeError ? "the service cannot be reached; is it still running?" : error.message);
  }
}

// The numbers of the form that a button stands in, as settings; what is empty is left as it is.
function numbersOf(form) {
  const fields = [...(form ? form.elements : [])].filter((each) => each.type === "number" && each.value !== "");
  return Object.fromEntries(fields.map((each) => [each.name, Number(each.value)]));
}

function post(button) {
  if (button.form && !button.form.reportValidity()) return undefined;
  return busy(button, async () => {
    await ask(button.dataset.post, { ...JSON.parse(button.dataset.body), ...numbersOf(button.form) });
    const then = button.dataset.then;
    if (then === "reload") location.reload();
    else if (then.startsWith("#")) htmx.trigger(then, "refresh");
    else say(button.title);
  });
}

function launch(button) {
  return busy(button, async () => {
    const yaml = document.querySelector(button.dataset.launch).textContent;
    const made = await ask("/api/studies", { yaml });
    location.assign(`/studies/${encodeURIComponent(made.study)}`);
  });
}

// What is deleted was asked for twice: by the button that opened the dialog, and by the one in it.
function remove(button) {
  return busy(button, async () => {
    await ask(button.dataset.delete, undefined, "DELETE");
    location.assign("/");
  });
}

async function copy(button) {
  const source = document.querySelector(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Over plain HTTP from another machine there is no clipboard: the text is selected, and Ctrl-C takes it.
    getSelection().selectAllChildren(source);
    if (!document.execCommand("copy")) {
      say("selected; press Ctrl-C");
      return;
    }
  }
  const label = button.textContent;
  button.textContent = "Copied";
  say("copied");
  setTimeout(() => { button.textContent = label; }, 1500);
}

function sort(button) {
  const table = button.closest("table");
  const heading = button.closest("th");
  const up = heading.getAttribute("aria-sort") !== "ascending";
  sortBy(table, heading.cellIndex, up);
}

function sortBy(table, column, up) {
  table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const key = (row) => {
    const text = row.cells[column].textContent.replaceAll(",", "").replace("≈ ", "");
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? text : number;
  };
  const order = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");  // what is empty stays last
    const first = a < b ? -1 : a > b ? 1 : 0;
    return up ? first : -first;
  };
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort((a, b) => order(a[0], b[0]));
  body.append(...rows.map((each) => each[1]));
}

function choose() {
  const button = document.querySelector("#compare");
  if (!button) return;
  button.disabled = chosen.size < 2 || chosen.size > 6;
  document.querySelector("#compare-hint").textContent =
    chosen.size === 0 ? "choose 2 to 6" : `${chosen.size} chosen${chosen.size > 6 ? ", at most 6" : ""}`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.post) post(button);
  else if (button.dataset.launch) launch(button);
  else if (button.dataset.copy) copy(button);
  else if (button.dataset.open) document.querySelector(button.dataset.open).showModal();
  else if (button.dataset.close !== undefined) button.closest("dialog").close();
  else if (button.dataset.delete) remove(button);
  else if (button.dataset.fill) {
    const field = document.querySelector(button.dataset.fill);
    field.value = button.dataset.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  } else if (button.classList.contains("sort")) sort(button);
});

// Enter in a field of such a form presses its button.
document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button[data-post]");
  if (!button) return;
  event.preventDefault();
  button.click();
});

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.type !== "checkbox" || box.name !== "trial") return;
  if (box.checked) chosen.add(box.value);
  else chosen.delete(box.value);
  choose();
});

// A refreshed table forgets what was sorted, chosen and scrolled to: it is put back.
let before = null;

document.addEventListener("htmx:beforeSwap", (event) => {
  const table = event.detail.target.querySelector?.("table[data-sortable]");
  const heading = table?.querySelector("th[aria-sort]");
  before = table && {
    column: heading?.cellIndex,
    up: heading?.getAttribute("aria-sort") === "ascending",
    scrolled: table.parentElement.scrollTop,
    focused: table.contains(document.activeElement) ? document.activeElement.closest("tr")?.querySelector("a")?.href : null,
  };
});

document.addEventListener("htmx:afterSettle", () => {
  const table = document.querySelector("table[data-sortable]");
  if (!table || !before) return;
  if (before.column !== undefined) sortBy(table, before.column, before.up);
  table.querySelectorAll("input[name=trial]").forEach((box) => { box.checked = chosen.has(box.value); });
  table.parentElement.scrollTop = before.scrolled;
  if (before.focused) [...table.querySelectorAll("a")].find((link) => link.href === before.focused)?.focus();
  before = null;
  choose();
});

document.addEventListener("htmx:sendError", () => say("the service cannot be reached; is it still running?"));
document.addEventListener("DOMContentLoaded", choose);
