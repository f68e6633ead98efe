import type { AppSpec } from "../model/app.ts";
import { AppError } from "../model/error.ts";
import type { AppId } from "../model/ids.ts";

/**
 * Length of the longest chain of dependencies below each of `wanted`: 0 for one that depends on nothing. An app may name
 * a group, which stands for every app under that path; names of nothing are ignored, so that apps may come in any order.
 * @throws AppError `invalid` when a chain leads back to its start.
 */
export function dependencyDepths(
  wanted: Iterable<AppId>,
  specs: ReadonlyMap<AppId, AppSpec>,
): ReadonlyMap<AppId, number> {
  const depths = new Map<AppId, number>();
  const open = new Set<AppId>();
  const sorted = [...specs.keys()].toSorted();
  for (const start of wanted) {
    // An own stack: a chain may be longer than the engine's.
    const stack: { readonly id: AppId; readonly below: readonly AppId[] | null }[] = [{ id: start, below: null }];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const { id, below } = top;
      if (below !== null) {
        depths.set(id, below.reduce((depth, each) => Math.max(depth, 1 + (depths.get(each) ?? 0)), 0));
        open.delete(id);
        continue;
      }
      if (depths.has(id)) continue;
      if (open.has(id)) throw cycleError(id);
      open.add(id);
      const next = dependenciesOf(id, specs, sorted);
      const back = next.find((each) => open.has(each));
      if (back !== undefined) throw cycleError(back);
      stack.push({ id, below: next });
      for (const each of next) stack.push({ id: each, below: null });
    }
  }
  return depths;
}

function dependenciesOf(
  id: AppId,
  specs: ReadonlyMap<AppId, AppSpec>,
  sorted: readonly AppId[],
): readonly AppId[] {
  const found = new Set<AppId>();
  for (const name of specs.get(id)?.dependencies ?? []) {
    if (specs.has(name)) found.add(name);
    for (const each of sorted) if (each.startsWith(`${name}/`)) found.add(each);
  }
  return [...found];
}

function cycleError(id: AppId): AppError {
  return new AppError("invalid", "Dependency graph has cyclic dependencies.", {
    fields: [{ path: "/dependencies", message: `the dependencies of "${id}" lead back to it` }],
    hint: `Remove a dependency of "${id}"`,
    details: { appId: id },
  });
}
