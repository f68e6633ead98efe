/**
 * Segments of a path as sent. Slashes count whether they come plain, doubled or as %2F: clients of every age write app
 * ids with slashes in all three ways, so routes are read from the right, where their fixed words are.
 * @returns null when the percent-encoding is broken.
 */
export function pathSegments(path: string): readonly string[] | null {
  try {
    return decodeURIComponent(path)
      .split("/")
      .filter((segment) => segment !== "");
  } catch {
    return null;
  }
}
