// The lab that the tests of one file share.
import { afterAll, setDefaultTimeout } from "bun:test";
import { downLab } from "../../src/lab/down-lab.ts";
import { LAB_TIMEOUT_MS, testLabName } from "./cluster.fixture.ts";

/**
 * The name of this file's lab, which no other run has. The lab is taken down after the last test, however the set-up and the
 * tests ended, and all of them have the time that a lab takes.
 */
export function testLab(what: string): string {
  const name = testLabName(what);
  setDefaultTimeout(LAB_TIMEOUT_MS);
  afterAll(() => downLab(name));
  return name;
}
