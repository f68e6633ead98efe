import { AppError } from "../../src/model/error.ts";
import { soakAddresses } from "./addresses.ts";
import { soakTests } from "./tests.ts";
import { soakHttpFuzz } from "./http-fuzz.ts";
import { soakIdleQueries } from "./idle-queries.ts";

/** Every soak by name; a soak throws when something is not as it should be. */
const SOAKS: Readonly<Record<string, (argv: readonly string[]) => Promise<string>>> = {
  addresses: soakAddresses,
  tests: soakTests,
  "idle-queries": soakIdleQueries,
  "http-fuzz": soakHttpFuzz,
};

/** `npm run soak -- NAME`: minutes of a real load over a lab or real processes, with a word about it at the end. */
async function main([name = "", ...rest]: readonly string[]): Promise<number> {
  const soak = Object.hasOwn(SOAKS, name) ? SOAKS[name] : undefined;
  if (soak === undefined) {
    console.error(`Usage: npm run soak -- NAME; there is ${Object.keys(SOAKS).join(", ")}`);
    return 2;
  }
  try {
    console.log(await soak(rest));
    return 0;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    console.error(error.message);
    if (error.hint !== undefined) console.error(error.hint);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
