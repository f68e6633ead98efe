import { AppError, type ErrorCode } from "../model/error.ts";
import type { AgentAnswer } from "../model/wire.ts";
import type { ClusterServer } from "./cluster-server.ts";

/** A question may make the agent probe every path it has; beyond this nobody waits any more. */
const ANSWER_MS_MAX = 20_000;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

/** Asks one host's agent. @throws AppError as the agent says, `not-found`, or `unavailable` when it cannot answer (in time). */
export async function askHost(server: ClusterServer, hostName: string, question: unknown): Promise<unknown> {
  const host = server.state.hostByName(hostName);
  if (host === null) throw new AppError("not-found", `Cannot find host "${hostName}"`, { hint: "apollo host list" });
  const session = server.hub.session(host.id);
  if (session === null) {
    throw new AppError("unavailable", `Cannot ask host "${hostName}": its agent is not connected`, {
      hint: "apollo host list",
    });
  }
  const { channels, clock } = server;
  const text = await new Promise<string>((resolve, reject) => {
    const ended = new AbortController();
    const chunks: Uint8Array[] = [];
    let size = 0;
    const fail = (code: ErrorCode, why: string): void => {
      ended.abort();
      reject(new AppError(code, `Cannot ask host "${hostName}": ${why}`, { hint: "See its agent's log" }));
    };
    const channel = channels.open(
      session,
      { kind: "query", question },
      {
        output: (_stream, bytes) => {
          size += bytes.length;
          if (size <= ANSWER_BYTES_MAX) chunks.push(bytes);
          else {
            channels.abandon(channel);
            fail("unavailable", `its answer is longer than ${ANSWER_BYTES_MAX} bytes`);
          }
        },
        end: (_exitCode, error) => {
          if (error !== null) return fail("unavailable", error);
          ended.abort();
          resolve(Buffer.concat(chunks).toString("utf8"));
        },
      },
    );
    void clock.sleep(ANSWER_MS_MAX, ended.signal).then(() => {
      if (ended.signal.aborted) return;
      channels.abandon(channel);
      fail("unavailable", `no answer within ${ANSWER_MS_MAX / 1000} s`);
    });
  });
  const answer = JSON.parse(text) as AgentAnswer;
  if (answer.ok) return answer.value;
  throw new AppError(answer.code, answer.message, answer.hint === undefined ? {} : { hint: answer.hint });
}
