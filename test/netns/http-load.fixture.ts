import { connect, type Socket } from "node:net";

export interface LoadOptions {
  readonly port: number;
  readonly host: string;
  readonly method: "GET" | "POST";
  /** Requests on one connection before the client opens another; 1 asks for no keep-alive. */
  readonly perConnection: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly failures: readonly string[];
  /** Answers by body, to see who served. */
  readonly bodies: Readonly<Record<string, number>>;
}

export interface Load {
  result(): LoadResult;
  stop(): Promise<LoadResult>;
}

/**
 * One client after another request, on raw sockets: `fetch` would repeat a request on a connection that was cut, which
 * is just the failure that a test of hand-over must see.
 */
export function startLoad(options: LoadOptions): Load {
  const failures: string[] = [];
  const bodies: Record<string, number> = {};
  let requests = 0;
  let going = true;
  const run = async (): Promise<void> => {
    while (going) {
      const client = new HttpClient(options.port);
      for (let i = 1; going && i <= options.perConnection && !client.closed; i++) {
        requests += 1;
        try {
          const answer = await client.ask(options.method, options.host, i === options.perConnection);
          if (answer.status === 200) bodies[answer.body] = (bodies[answer.body] ?? 0) + 1;
          else failures.push(`status ${answer.status}: ${answer.body}`);
        } catch (error) {
          failures.push(String(error));
        }
      }
      client.close();
    }
  };
  const running = run();
  const result = (): LoadResult => ({ requests, failures: [...failures], bodies: { ...bodies } });
  return {
    result,
    stop: async () => {
      going = false;
      await running;
      return result();
    },
  };
}

class HttpClient {
  closed = false;
  readonly #socket: Socket;
  #buffer = "";
  #wake: () => void = () => undefined;
  #error: Error | null = null;

  constructor(port: number) {
    this.#socket = connect({ host: "127.0.0.1", port });
    this.#socket.setEncoding("latin1");
    this.#socket.on("data", (text: string) => {
      this.#buffer += text;
      this.#wake();
    });
    this.#socket.on("error", (error) => {
      this.#error = error;
    });
    this.#socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
  }

  async ask(method: string, host: string, last: boolean): Promise<{ readonly status: number; readonly body: string }> {
    const length = method === "POST" ? "content-length: 2\r\n" : "";
    const connection = last ? "connection: close\r\n" : "";
    this.#socket.write(
      `${method} / HTTP/1.1\r\nhost: ${host}\r\n${length}${connection}\r\n${length === "" ? "" : "hi"}`,
    );
    for (;;) {
      const end = this.#buffer.indexOf("\r\n\r\n");
      const head = this.#buffer.slice(0, Math.max(end, 0)).toLowerCase();
      const size = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
      if (end >= 0 && this.#buffer.length >= end + 4 + size) {
        const body = this.#buffer.slice(end + 4, end + 4 + size);
        this.#buffer = this.#buffer.slice(end + 4 + size);
        if (head.includes("connection: close")) this.close();
        return { status: Number(head.split(" ")[1]), body };
      }
      if (this.closed) throw this.#error ?? new Error(`connection closed after ${this.#buffer.length} bytes`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.closed = true;
    this.#socket.destroy();
  }
}
