/**
 * Tells of the end of processes that others started. It is a hint, sooner than those others tell of it: whoever acts on
 * it must do without it as well.
 */
export interface ProcessWatcher {
  /**
   * Calls `onEnd` once, at the earliest after this call, when process `pid` has ended; never for another process that
   * gets the number later. `group` is a part of the path of its control group (a container's id): a process outside of it
   * is not the one that was meant. Returns what ends the watch; null when there is no such process, or no way to watch it.
   */
  watch(pid: number, group: string, onEnd: () => void): (() => void) | null;
}
