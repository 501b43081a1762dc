/** Light, dark, or as the system has it; kept for this browser. */
const KEY = "topichub-colours";
const CHOICES = { "": ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };

/** Lets a button choose the colours in turn. */
export function chooseColours(button) {
  const names = Object.keys(CHOICES);
  const show = (name) => {
    const [sign, words] = CHOICES[name];
    document.documentElement.dataset.colours = name;
    button.textContent = sign;
    button.setAttribute("aria-label", `Colours: ${words}`);
    button.title = `Colours: ${words}`;
  };
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(localStorage.getItem(KEY) ?? "") + 1) % names.length];
    localStorage.setItem(KEY, next);
    show(next);
  });
  const kept = localStorage.getItem(KEY) ?? "";
  show(names.includes(kept) ? kept : "");
}
