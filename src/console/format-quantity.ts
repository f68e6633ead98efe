/** Cores, at most two decimals: "0.3", "4", "1.25". */
export function formatCpus(cpus: number): string {
  return String(Math.round(cpus * 100) / 100);
}

/** "512 MiB", "1.5 GiB", "2 TiB". */
export function formatMemory(mebibytes: number): string {
  if (mebibytes < 1024) return `${Math.round(mebibytes)} MiB`;
  if (mebibytes < 1024 * 1024) return `${Math.round((mebibytes / 1024) * 10) / 10} GiB`;
  return `${Math.round((mebibytes / 1024 / 1024) * 10) / 10} TiB`;
}

/** A length of time in its largest whole unit: "12 s", "3 min", "5 h", "8 d". */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** Point in time as a person compares it: "2026-03-04 15:06:07", in the reader's zone. */
export function formatTime(epochMs: number): string {
  const date = new Date(epochMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `1 host`, `3 hosts`. */
export function formatCount(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** An app id without its leading slash. */
export function formatAppName(appId: string): string {
  return appId.startsWith("/") ? appId.slice(1) : appId;
}

/** The part of an instance id that tells it from its siblings. */
export function formatInstanceName(instanceId: string): string {
  const marker = "instance-";
  const start = instanceId.lastIndexOf(marker);
  return start === -1 ? instanceId : instanceId.slice(start + marker.length).slice(0, 8);
}
