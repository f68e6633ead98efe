import type { Constraint, ConstraintOperator } from "../../model/app.ts";
import type { JsonObject } from "../read-json.ts";

const OPERATORS: readonly ConstraintOperator[] = ["UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "MAX_PER", "UNLIKE", "IS"];
const PATTERN_LENGTH_MAX = 500;

export function parseConstraints(app: JsonObject): readonly Constraint[] {
  return (app.list("constraints") ?? []).flatMap(({ value, path }) => {
    if (!Array.isArray(value)) {
      app.issues.form(path, "error.expected.jsarray");
      return [];
    }
    return parseConstraint(app, path, value as readonly unknown[]) ?? [];
  });
}

function parseConstraint(app: JsonObject, path: string, parts: readonly unknown[]): Constraint | null {
  const { issues } = app;
  if (parts.length < 2 || parts.length > 3) return issues.sense(path, "Each constraint must have either 2 or 3 fields");
  // Numbers come from files that were written by hand: ["rack", "MAX_PER", 2].
  const texts = parts.map((part) => (typeof part === "number" ? String(part) : part));
  const wrong = texts.findIndex((part, index) => typeof part !== "string" && !(index === 2 && part === null));
  if (wrong >= 0) return issues.form(`${path}(${wrong})`, "error.expected.jsstring");
  const [field, word, value = null] = texts as unknown as readonly [string, string, (string | null)?];
  const operator = OPERATORS.find((known) => known === word.toUpperCase());
  if (operator === undefined) {
    return issues.sense(
      path,
      "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER, UNLIKE or IS",
    );
  }
  if (field === "") return issues.sense(path, "the field must be hostname or a host label");
  const fault = valueFault(operator, value);
  if (fault !== null) return issues.sense(path, fault);
  // @hostname, @region and @zone are Marathon's newer names; here the latter two are labels like any other.
  return { field: field.replace(/^@(hostname|region|zone)$/, "$1"), operator, value };
}

function valueFault(operator: ConstraintOperator, value: string | null): string | null {
  switch (operator) {
    case "UNIQUE":
      return value === null || value === "" ? null : "UNIQUE does not accept a value";
    case "MAX_PER":
      return value !== null && /^[1-9]\d{0,8}$/.test(value) ? null : "MAX_PER requires an integer value";
    case "GROUP_BY":
      return value === null || /^\d{1,9}$/.test(value)
        ? null
        : "GROUP BY must define an integer value or else no value at all";
    case "LIKE":
    case "UNLIKE":
      return patternFault(value);
    case "IS":
      return value === null || value === "" ? "IS requires a value" : null;
    case "CLUSTER":
      return null;
  }
}

function patternFault(value: string | null): string | null {
  if (value === null || value === "") return "LIKE and UNLIKE require a non-empty, regular expression value";
  if (value.length > PATTERN_LENGTH_MAX)
    return `a regular expression may have ${PATTERN_LENGTH_MAX} characters at most`;
  try {
    new RegExp(value);
    return null;
  } catch {
    return `"${value}" is not a valid regular expression`;
  }
}
