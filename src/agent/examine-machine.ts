import type { JoinExamination } from "../cluster/check-join.ts";
import { explainMachine } from "../network/doctor/explain-machine.ts";
import { hostRanges } from "../network/plan-network.ts";
import { LinuxHostExaminer } from "../platform/linux/linux-host-examiner.ts";
import { ProcessRunner } from "../platform/linux/process-runner.ts";
import type { Engine } from "../platform/ports/engine.ts";
import type { AgentConfig } from "./agent-config.ts";

/**
 * What of this machine is not well before it joins: the doctor's own checks without those that need a cluster. An engine that is
 * not there yet is a condition of the host and no reason to refuse it; the range is checked by the server, which knows it.
 */
export async function examineMachine(
  { dataDir, name, address }: AgentConfig,
  engine: Engine,
): Promise<JoinExamination["findings"]> {
  const examiner = new LinuxHostExaminer({ runner: new ProcessRunner(), engine, dataDir, ownRanges: hostRanges });
  const machine = await examiner.examine();
  const findings = explainMachine({ machine, host: name, address, range: null, peer: null, running: false });
  return findings.flatMap(({ check, state, text, hint }) => {
    if (state === "ok") return [];
    return [{ check, state: check === "engine" ? "warning" : state, text, hint }];
  });
}
