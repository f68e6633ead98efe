import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeContract } from "../../sim/store.contract.ts";
import { SqliteStore } from "./sqlite-store.ts";

storeContract("SqliteStore", async () => {
  const directory = mkdtempSync(join(tmpdir(), "apollo-store-"));
  const path = join(directory, "a.db");
  const store = SqliteStore.open(path);
  return {
    store,
    reopen: async () => {
      await store.close();
      return SqliteStore.open(path);
    },
    cleanUp: async () => {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});
