const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
] as const;

/** "850 ms", "3.2 s", "2m 5s", "4h 3m", "3d 4h": the two largest units. */
export function formatDuration(ms: number): string {
  const whole = Math.max(0, ms);
  if (whole < 1000) return `${Math.round(whole)} ms`;
  if (whole < 10_000) return `${(Math.floor(whole / 100) / 10).toFixed(1)} s`;
  const first = UNITS.findIndex(([, size]) => whole >= size);
  const [unit, size] = UNITS[first] ?? UNITS[3];
  const next = UNITS[first + 1];
  const count = Math.floor(whole / size);
  const rest = next === undefined ? 0 : Math.floor((whole - count * size) / next[1]);
  return next === undefined || rest === 0 ? `${count}${unit}` : `${count}${unit} ${rest}${next[0]}`;
}

/** "3m 4s ago", "now"; "-" for what never was. */
export function formatAgo(atMs: number | null, nowMs: number): string {
  if (atMs === null) return "-";
  const age = nowMs - atMs;
  // Clocks of server and client may differ by a little.
  return age < 1000
    ? "now"
    : `${formatDuration(age < 10_000 ? Math.floor(age / 1000) * 1000 : age)} ago`.replace(".0 s", "s");
}

/** "in 12s", for what is to come. */
export function formatIn(atMs: number, nowMs: number): string {
  const left = atMs - nowMs;
  return left <= 0 ? "now" : `in ${formatDuration(Math.ceil(left / 1000) * 1000).replace(".0 s", "s")}`;
}
