#!/usr/bin/env node
// What a fresh Debian 12 needs to build, run and test Apollo. Plain Node.js, since nothing else is there yet.
//   node tools/setup.mjs [--browser]
// The second run finds everything in place, does nothing, and says nothing.
import { spawnSync, spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const NODE_MAJOR_MIN = 20;
const APT_TIMEOUT_MS = 15 * 60_000;
const NPM_TIMEOUT_MS = 10 * 60_000;
/** The lab's disks lie here, so it must be a real file system; in a container it can be a volume. */
const LAB_ROOT = "/var/lib/apollo-lab";
const POLICY = "/usr/sbin/policy-rc.d";

/** Debian package, the program by which we know that it (or a package like it) is there, and why it is needed. */
const PACKAGES = [
  ["iproute2", "ip", "networks of the hosts"],
  ["nftables", "nft", "filter rules of the hosts and the lab's cable cutter"],
  ["docker.io", "dockerd", "the container engine of every host"],
  ["haproxy", "haproxy", "the edge of every host"],
  ["docker-registry", "docker-registry", "the lab's image registry: hosts pull from it as from any other"],
  ["iptables", "iptables", "the rule that Docker's own firewall needs for container traffic between hosts"],
  ["conntrack", "conntrack", "to end connections to instances that are gone"],
  ["bind9-dnsutils", "dig", "to ask the DNS of the hosts, in the tour and the tests"],
  ["dnsmasq-base", "dnsmasq", "the lab's outside resolver"],
  ["busybox-static", "busybox", "a web server image of 2 MB"],
  ["tini", "tini", "process 1 of the lab's hosts"],
  ["socat", "socat", "to reach the lab's ports from this machine"],
  ["iputils-ping", "ping", "to measure links"],
  ["ethtool", "ethtool", "to turn off packet bundling in tests that look at packet sizes"],
  ["curl", "curl", "HTTP client of the tour and the tests"],
  ["wireguard-tools", "wg", "to encrypt what hosts say to each other"],
  ["wireguard-go", "wireguard-go", "the same where the kernel has no WireGuard"],
  ["tcpdump", "tcpdump", "the tests look at the wire: nothing leaks where encryption is required"],
  ["etcd-server", "etcd", "the store of several servers of `apollo discovery agent`"],
  ["procps", "sysctl", "kernel settings of the lab's router"],
  ["clang", "clang", "compiles the packet programs of the fast path; needed to build, not to run"],
  ["ca-certificates", "update-ca-certificates", "to download packages by HTTPS"],
];
/** For the tour and the tests; building and running Apollo needs none. */
const BROWSER_PACKAGES = [
  ["chromium", "chromium", "to look at the console as a person does, in the tour and the tests"],
  ["prometheus", "prometheus", "the tests: a client of Consul's DNS that others wrote"],
  ["python3-consul", "/usr/lib/python3/dist-packages/consul", "the tests: a client of Consul's API that others wrote"],
];
/** What the kernel check itself is made with. */
const CHECK_PROGRAMS = new Set(["ip", "nft"]);
const PATH = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

class SetupError extends Error {}

/** Sets up what is missing. Returns the path of Bun. Throws SetupError with the name of what cannot be had. */
export async function setUp({ withBrowser = false } = {}) {
  const major = Number(process.versions.node.split(".")[0]);
  if (process.platform !== "linux") fail(`this is ${process.platform}; Apollo runs on Linux`);
  if (process.arch !== "x64" && process.arch !== "arm64") fail(`no build of Bun for ${process.arch}`);
  if (major < NODE_MAJOR_MIN) fail(`Node.js ${process.versions.node}; at least ${NODE_MAJOR_MIN} is needed`);
  if (process.getuid?.() !== 0) fail("not root: namespaces, networks and Docker engines need it (try sudo)");
  const wanted = [...PACKAGES, ...(withBrowser ? BROWSER_PACKAGES : [])];
  const missing = wanted.filter(([, program]) => !isThere(program));
  if (missing.length > 0 && find("apt-get") === null) {
    fail(`no apt-get to install ${missing.map(([name]) => name).join(", ")}`);
  }
  // The kernel is checked before the large packages come in: on the wrong one they would be of no use.
  const first = missing.filter(([, program]) => CHECK_PROGRAMS.has(program));
  if (first.length > 0) await install(first);
  checkKernel();
  const rest = missing.filter((entry) => !first.includes(entry));
  if (rest.length > 0) await install(rest);
  const still = wanted.filter(([, program]) => !isThere(program)).map(([name, program]) => `${program} (${name})`);
  if (still.length > 0) fail(`${still.join(", ")} still not there after the installation`);
  await installNodeModules();
  return findBun();
}

function fail(what) {
  throw new SetupError(what);
}

/** A program by its name, or a file by its path. */
function find(program) {
  if (program.startsWith("/")) return existsSync(program) ? program : null;
  for (const dir of PATH) {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return join(dir, program);
    } catch {
      // Not in this one.
    }
  }
  return null;
}

function isThere(program) {
  const path = find(program);
  // Debian's other busybox needs shared libraries, which an image of nothing else does not have.
  return path !== null && (program !== "busybox" || !isDynamic(path));
}

/** An ELF program that names a loader (PT_INTERP). */
function isDynamic(path) {
  const elf = readFileSync(path);
  const count = elf.readUInt16LE(56);
  const size = elf.readUInt16LE(54);
  const start = Number(elf.readBigUInt64LE(32));
  return Array.from({ length: count }, (_, index) => elf.readUInt32LE(start + index * size)).includes(3);
}

/** The package lists were fetched by this run. */
let listsAreFresh = false;

/** Installs packages without starting what is in them: the lab starts its own engines, the machine needs none. */
async function install(packages) {
  console.log("Apollo needs Debian packages that are not installed:");
  for (const [name, , reason] of packages) console.log(`  ${name.padEnd(16)} ${reason}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const withdraw = forbidServiceStart();
  try {
    if (!listsAreFresh) await run("apt-get update", ["apt-get", "update", "-q"], { env, timeoutMs: APT_TIMEOUT_MS });
    listsAreFresh = true;
    const names = packages.map(([name]) => name);
    const argv = ["apt-get", "install", "-q", "-y", "--no-install-recommends", ...names];
    await run(`apt-get install of ${names.length} packages`, argv, { env, timeoutMs: APT_TIMEOUT_MS });
  } finally {
    withdraw();
  }
}

/** Debian asks this file whether a package may start its service; one that is there already keeps its say. */
function forbidServiceStart() {
  if (existsSync(POLICY)) return () => undefined;
  writeFileSync(POLICY, "#!/bin/sh\n# Put here by Apollo's set-up while it installs packages.\nexit 101\n", {
    mode: 0o755,
  });
  const withdraw = () => rmSync(POLICY, { force: true });
  process.once("exit", withdraw);
  return withdraw;
}

/** Tries each thing for real, in namespaces that are thrown away: a module may be there and still be forbidden. */
function checkKernel() {
  const name = `apl-check-${process.pid}`;
  const parent = existsSync(LAB_ROOT) ? LAB_ROOT : dirname(LAB_ROOT);
  const dir = join(parent, `.apollo-check-${process.pid}`);
  try {
    attempt("network namespaces", ["ip", "netns", "add", name]);
    attempt("bridges", ["ip", "-n", name, "link", "add", "b0", "type", "bridge"]);
    attempt("veth pairs", ["ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
    const vxlan = ["type", "vxlan", "id", "1", "dstport", "6784", "local", "127.0.0.1", "nolearning"];
    attempt("VXLAN", ["ip", "-n", name, "link", "add", "x0", ...vxlan]);
    const nft = ["ip", "netns", "exec", name, "nft", "-f", "-"];
    attempt("nftables with masquerading", nft, chain("ip", "type nat hook postrouting priority 100;", "masquerade"));
    attempt("nftables on bridges", nft, chain("bridge", "type filter hook forward priority 0;", "accept"));
    for (const sub of ["upper", "work", "root"]) mkdirSync(join(dir, sub), { recursive: true });
    const layers = `lowerdir=/,upperdir=${dir}/upper,workdir=${dir}/work`;
    const mount = ["mount", "-t", "overlay", "overlay", "-o", layers, `${dir}/root`];
    const spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--propagation", "private"];
    attempt("mount, UTS, IPC and PID namespaces", [...spaces, "true"]);
    attempt(`overlayfs with its upper layer on ${parent} (is that an overlay itself?)`, [...spaces, ...mount]);
    if (!existsSync("/sys/fs/cgroup/memory") && !existsSync("/sys/fs/cgroup/cgroup.controllers")) {
      fail("kernel or container without cgroups: nothing is mounted on /sys/fs/cgroup");
    }
  } finally {
    spawnSync("ip", ["netns", "delete", name]);
    rmSync(dir, { recursive: true, force: true });
  }
}

function chain(family, hook, rule) {
  return `table ${family} t {\n chain c {\n ${hook}\n ${rule}\n }\n}\n`;
}

function attempt(what, [program, ...args], input) {
  const result = spawnSync(program, args, { input: input ?? "", encoding: "utf8", timeout: 10_000 });
  if (result.status !== 0) {
    const said = (result.error?.message ?? result.stderr).trim().split("\n")[0];
    fail(`kernel or container without ${what}: "${[program, ...args].join(" ")}" said: ${said}`);
  }
}

/** Runs a program with its output kept for the case of failure, and a line every few seconds. */
function run(what, [program, ...args], { env, timeoutMs, cwd }) {
  return new Promise((resolve, reject) => {
    const startMs = Date.now();
    const child = spawn(program, args, { env, cwd, stdio: ["ignore", "pipe", "pipe"] });
    const output = [];
    child.stdout.on("data", (bytes) => output.push(bytes));
    child.stderr.on("data", (bytes) => output.push(bytes));
    const seconds = () => Math.round((Date.now() - startMs) / 1000);
    const progress = setInterval(() => {
      const last = Buffer.concat(output).toString("utf8").trim().split("\n").at(-1) ?? "";
      console.log(`  ${what}: ${seconds()} s  ${last.slice(0, 80)}`);
    }, 3000);
    const deadline = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    console.log(`  ${what} …`);
    const end = (problem) => {
      clearInterval(progress);
      clearTimeout(deadline);
      if (problem === null) resolve();
      else
        reject(new SetupError(`${what} failed (${problem}):\n${Buffer.concat(output).toString("utf8").slice(-4000)}`));
    };
    child.on("error", (error) => end(error.message));
    child.on("close", (code, signal) => {
      end(code === 0 ? null : signal === null ? `exit code ${code}` : `no end after ${seconds()} s`);
    });
  });
}

async function installNodeModules() {
  const reason = staleModule();
  if (reason === null) return;
  console.log(`Apollo needs its npm packages (${reason}):`);
  const argv = ["npm", "ci", "--no-audit", "--no-fund"];
  await run("npm ci", argv, { env: process.env, timeoutMs: NPM_TIMEOUT_MS, cwd: ROOT });
  const still = staleModule();
  if (still !== null) fail(`npm ci did not bring what package-lock.json names: ${still}`);
}

/**
 * Why node_modules does not fit package-lock.json, or null when it does. npm notes in a lock file of its own what it
 * installed; comparing the two says more than dates, which a fresh clone makes anew.
 */
function staleModule() {
  const installedPath = join(ROOT, "node_modules/.package-lock.json");
  if (!existsSync(installedPath)) return "node_modules is missing";
  const wanted = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedPath, "utf8")).packages;
  for (const [path, { version, optional }] of Object.entries(wanted)) {
    const found = installed[path];
    // Optional packages are there only for the platforms that they are for.
    if (path === "" || (found === undefined && optional === true)) continue;
    if (found?.version !== version) return `${path} is ${found?.version ?? "missing"}, wanted ${version}`;
  }
  return null;
}

/**
 * Bun comes as an npm package whose install script puts the program in place; newer npm asks before it runs such scripts.
 * The program itself lies in a package of its own either way.
 */
function findBun() {
  const cpu = process.arch === "x64" ? "x64" : "aarch64";
  const kinds = [`bun-linux-${cpu}`, `bun-linux-${cpu}-baseline`, `bun-linux-${cpu}-musl`];
  const paths = ["node_modules/.bin/bun", ...kinds.map((kind) => `node_modules/@oven/${kind}/bin/bun`)];
  const wanted = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).devDependencies.bun;
  for (const path of paths.map((relative) => join(ROOT, relative))) {
    const result = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 10_000 });
    if (result.status === 0 && result.stdout.trim() === wanted) return path;
  }
  return fail(`Bun ${wanted} does not run from any of ${paths.join(", ")}; remove node_modules and try again`);
}

/** Prints a failure of the set-up plainly; rethrows anything else. */
export function reportSetupError(error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`Cannot set up Apollo: ${error.message}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await setUp({ withBrowser: process.argv.includes("--browser") });
    console.log("Everything that Apollo needs is in place.");
  } catch (error) {
    reportSetupError(error);
    process.exitCode = 1;
  }
}
