// Starts a lab in a process of its own, for a test that ends that process in the midst of it.
import { upLab } from "../../src/lab/lab.ts";

/** What to run, with the lab's name behind it. */
export const LAB_UP_PROGRAM = import.meta.path;

if (import.meta.main) {
  await upLab({ name: process.argv[2] ?? "", hosts: 2, parts: "engines", onProgress: (text) => console.log(text) });
  console.log("up");
}
