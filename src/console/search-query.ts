/**
 * The search box: words that all must occur, `field:word` to look in one field, a leading `!` to exclude.
 * `host:h1 !health:healthy` finds what is not well on h1.
 */
export interface SearchTerm {
  readonly field: string | null;
  readonly text: string;
  readonly excludes: boolean;
}

/** What a row offers to search, by field name; several values where a field has several. */
export type SearchFields = Readonly<Record<string, string | readonly string[] | null>>;

export function parseSearch(text: string): readonly SearchTerm[] {
  return text
    .toLowerCase()
    .split(/\s+/)
    .map((word) => {
      const excludes = word.startsWith("!");
      const body = excludes ? word.slice(1) : word;
      // A colon after letters names a field; "10.2.1.7:8080" is a plain word.
      const match = /^([a-z][a-z.-]*):(.+)$/.exec(body);
      return { field: match?.[1] ?? null, text: match?.[2] ?? body, excludes };
    })
    .filter((term) => term.text !== "");
}

export function matchesSearch(terms: readonly SearchTerm[], fields: SearchFields): boolean {
  return terms.every((term) => occurs(term, fields) !== term.excludes);
}

function occurs(term: SearchTerm, fields: SearchFields): boolean {
  const values = term.field === null ? Object.values(fields) : [fields[term.field] ?? null];
  return values.some((value) => {
    if (value === null) return false;
    const texts = typeof value === "string" ? [value] : value;
    return texts.some((text) => text.toLowerCase().includes(term.text));
  });
}
