// Elements, without markup in strings: what the service answers is only ever text.

export const $ = (id) => document.getElementById(id);

/** Make an element: el("td", { class: "number", onclick: f }, "text", child). */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Make a link to another place of this page: a plain click goes there without loading anything, any other is a link's. */
export function link(properties, action, ...children) {
  return el("a", { ...properties, onclick: (event) => plainly(event, action) }, ...children);
}

export function plainly(event, action) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
  event.preventDefault();
  action();
}

/** Set the text of a node, only where it differs: an unchanged node is not laid out again. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Make a table row of text cells; `heads` of them, from the left, are headers of the row. */
export function row(cells, heads = 0) {
  return el("tr", {}, ...cells.map((cell, i) => (i < heads ? el("th", { scope: "row" }, cell) : el("td", {}, cell))));
}

export function header(names) {
  return el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name))));
}

let toastTimer;
export function toast(message) {
  const node = $("toast");
  text(node, message);
  node.classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => node.classList.remove("on"), 2500);
}

/** Put text on the clipboard, or, where a browser forbids that (plain http), show it to be copied by hand. */
export async function copy(value) {
  try {
    await navigator.clipboard.writeText(value);
    toast("Copied");
  } catch {
    const area = el("textarea", { readonly: true, rows: "6", "aria-label": "Text to copy" });
    area.value = value;
    const dialog = $("show");
    dialog.replaceChildren(
      el("h2", { id: "show-title" }, "Copy this"), area,
      el("form", { method: "dialog" }, el("button", {}, "Close")),
    );
    dialog.showModal();
    area.select();
  }
}

export function download(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
