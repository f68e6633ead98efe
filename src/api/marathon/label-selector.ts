/**
 * Marathon's label selectors: `a, b==x, c!=y, d in (x,y), e notin (x,y)`; a comma is "and", `\` escapes the next
 * character, blanks are free.
 */
import { AppError } from "../../model/error.ts";

export type LabelSelector = (labels: Readonly<Record<string, string>>) => boolean;

type Token = { readonly kind: "word" | "sign"; readonly text: string };

/** @throws AppError `invalid` with Marathon's text. */
export function parseLabelSelector(text: string): LabelSelector {
  const tokens = tokenize(text);
  const parts: LabelSelector[] = [];
  let at = 0;
  const fail = (reason: string): AppError =>
    new AppError("invalid", `Can not parse label selector ${text}. Reason: ${reason}`);
  const sign = (wanted: string): boolean => {
    if (tokens[at]?.kind !== "sign" || tokens[at]?.text !== wanted) return false;
    at++;
    return true;
  };
  const word = (): string => {
    const token = tokens[at++];
    if (token?.kind !== "word") throw fail(token === undefined ? "unexpected end" : `unexpected "${token.text}"`);
    return token.text;
  };
  const set = (): ReadonlySet<string> => {
    if (!sign("(")) throw fail('expected "("');
    const values = new Set([word()]);
    while (sign(",")) values.add(word());
    if (!sign(")")) throw fail('expected ")"');
    return values;
  };
  const one = (): LabelSelector => {
    const key = word();
    if (sign("==")) return equals(key, word());
    if (sign("!=")) return not(equals(key, word()));
    const operator = tokens[at]?.kind === "word" ? tokens[at++]?.text : undefined;
    if (operator === "in") return within(key, set());
    if (operator === "notin") return not(within(key, set()));
    if (operator !== undefined) throw fail(`unknown operator "${operator}"`);
    return (labels) => Object.hasOwn(labels, key);
  };
  do parts.push(one());
  while (sign(","));
  if (at < tokens.length) throw fail(`unexpected "${tokens[at]?.text}"`);
  return (labels) => parts.every((part) => part(labels));
}

function equals(key: string, value: string): LabelSelector {
  return (labels) => Object.hasOwn(labels, key) && labels[key] === value;
}

function within(key: string, values: ReadonlySet<string>): LabelSelector {
  return (labels) => Object.hasOwn(labels, key) && values.has(labels[key] ?? "");
}

/** As in Marathon, an app without the label passes `!=` and `notin`. */
function not(selector: LabelSelector): LabelSelector {
  return (labels) => !selector(labels);
}

function tokenize(text: string): readonly Token[] {
  const tokens: Token[] = [];
  for (const match of text.matchAll(/\s+|(==|!=|[(),])|((?:\\[\s\S]|[^\s\\(),=!])+)|[\s\S]/g)) {
    const [all, mark, word] = match;
    if (mark !== undefined) tokens.push({ kind: "sign", text: mark });
    else if (word !== undefined) tokens.push({ kind: "word", text: word.replaceAll(/\\([\s\S])/g, "$1") });
    else if (all.trim() !== "") tokens.push({ kind: "sign", text: all });
  }
  return tokens;
}
