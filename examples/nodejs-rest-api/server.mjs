// A REST server with nothing but Node.js. It says who answered, so that a client can see the traffic spread.
//   GET  /      {"name","version","instance","host"}; 503 while sick
//   POST /sick  makes this instance fail its health check from now on
import { createServer } from "node:http";
import { hostname } from "node:os";

const port = Number(process.env.PORT ?? 8080);
const about = {
  name: process.env.APP_NAME ?? "nodejs-rest-api",
  version: process.env.APP_VERSION ?? "0.0.0",
  // Set by Apollo, as Mesos and Marathon did.
  instance: process.env.MESOS_TASK_ID ?? hostname(),
  host: process.env.HOST ?? hostname(),
};
let sick = false;
let stopping = false;

const server = createServer((request, response) => {
  // A kept-alive connection must not bring further requests to a server that is about to go.
  if (stopping) response.setHeader("Connection", "close");
  const path = (request.url ?? "/").split("?", 1)[0];
  if (path === "/sick" && request.method === "POST") {
    sick = true;
    answer(response, 202, { ...about, sick });
  } else if (path !== "/") {
    answer(response, 404, { error: `There is nothing at ${path}` });
  } else if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    answer(response, 405, { error: `${request.method} is not possible here` });
  } else if (sick) {
    answer(response, 503, { ...about, sick });
  } else {
    answer(response, 200, about);
  }
});

function answer(response, status, body) {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": Buffer.byteLength(text),
  });
  response.end(text);
}

// Asked to stop: no new connections, the requests under way are answered, then the process ends by itself.
function stop() {
  if (stopping) return;
  stopping = true;
  server.close();
  server.closeIdleConnections();
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);

server.listen(port, () => console.log(`${about.name} ${about.version} listens on ${port}`));
