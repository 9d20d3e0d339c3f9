/** Light, dark, or as the system has it; remembered in this browser. */

const NAME = "muster.theme";

/** @param {HTMLSelectElement} select */
export function startTheme(select) {
  const apply = () => {
    if (select.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = select.value;
  };
  const kept = localStorage.getItem(NAME);
  if (kept === "light" || kept === "dark") select.value = kept;
  apply();
  select.addEventListener("input", () => {
    if (select.value === "system") localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, select.value);
    apply();
  });
}
