/** Figures and times as people read them. */
const COUNT = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** A value in its unit, as `[figure, unit]`. */
export function shown(value, unit) {
  if (typeof value !== "number") return ["–", ""];
  if (unit === "B" || unit === "B/s") {
    const power = Math.min(BYTES.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
    return [COUNT.format(value / 1024 ** power), BYTES[power] + unit.slice(1)];
  }
  if (unit === "s") return span(value);
  return [COUNT.format(value), unit];
}

function span(seconds) {
  if (seconds < 60) return [String(Math.floor(seconds)), "s"];
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return [`${minutes}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`, "min"];
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? [`${hours}:${String(minutes % 60).padStart(2, "0")}`, "h"] : [String(Math.floor(hours / 24)), "days"];
}

/** How long ago a moment is, in milliseconds since 1970. */
export function ago(time) {
  const seconds = (time - Date.now()) / 1_000;
  for (const [unit, size] of [["day", 86_400], ["hour", 3_600], ["minute", 60]]) {
    if (-seconds >= size) return AGO.format(Math.round(seconds / size), unit);
  }
  return "just now";
}
