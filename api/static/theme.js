// Runs before the first paint, so that the page never flashes in the other theme.
(() => {
  const key = "hft-mmap.theme";
  const names = { auto: "Auto", dark: "Dark", light: "Light" };
  const kept = () => { try { return localStorage.getItem(key) || "auto"; } catch { return "auto"; } };
  let choice = kept();
  const apply = () => {
    const root = document.documentElement;
    if (choice === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", choice);
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.textContent = names[choice];
      button.setAttribute("aria-label", `Theme: ${names[choice]}`);
    }
    dispatchEvent(new Event("themechange"));
  };
  const next = () => {
    const order = Object.keys(names);
    choice = order[(order.indexOf(choice) + 1) % order.length];
    try { localStorage.setItem(key, choice); } catch { /* kept for this page only */ }
    apply();
  };
  apply();
  addEventListener("DOMContentLoaded", () => {
    apply();
    for (const button of document.querySelectorAll("[data-theme-toggle]")) button.addEventListener("click", next);
  });
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
})();
