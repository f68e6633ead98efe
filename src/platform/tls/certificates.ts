/**
 * The cluster's own certificate authority. Agents pin the hash of the CA certificate in their join token, so nothing
 * outside the cluster needs to vouch for it. Keys are ECDSA P-256: every TLS stack of the last ten years takes it.
 */
import { createHash, webcrypto, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type * as X509 from "@peculiar/x509";
import { AppError } from "../../model/error.ts";
import { installReflectMetadata } from "./reflect-metadata.ts";
import { SERVER_TLS_NAME } from "../../model/server-name.ts";

export interface KeyPairPem {
  readonly certificate: string;
  readonly key: string;
}

export interface ServerNames {
  readonly dns: readonly string[];
  readonly ips: readonly string[];
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
/** Browsers refuse server certificates that live longer than 825 days. */
const SERVER_DAYS = 365;
/** Hosts of a lab or fresh machines may have clocks behind the server's. */
const SKEW_MS = DAY_MS;

/**
 * The library is loaded when a certificate is made, which only servers do and seldom. A static import will not do: Bun
 * runs CommonJS dependencies before our own modules, and its injection needs the metadata calls in place.
 */
async function loadX509(): Promise<typeof X509> {
  installReflectMetadata();
  const x509 = await import("@peculiar/x509");
  x509.cryptoProvider.set(webcrypto as unknown as Crypto);
  return x509;
}

export async function makeCertificateAuthority(nowMs: number): Promise<KeyPairPem> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: "CN=Apollo cluster CA",
    notBefore: new Date(nowMs - SKEW_MS),
    notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/** @param uses `peer`: one end shows it as a server, the other one as a client */
export async function makeServerCertificate(
  ca: KeyPairPem,
  names: ServerNames,
  nowMs: number,
  uses: "server" | "peer" = "server",
): Promise<KeyPairPem> {
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(ca.certificate);
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${SERVER_TLS_NAME}`,
    issuer: issuer.subject,
    notBefore: new Date(nowMs - SKEW_MS),
    notAfter: new Date(Math.min(nowMs + SERVER_DAYS * DAY_MS, issuer.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await importKey(ca.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        ...(uses === "peer" ? [x509.ExtendedKeyUsage.clientAuth] : []),
      ]),
      new x509.SubjectAlternativeNameExtension([
        ...names.dns.map((value) => ({ type: "dns", value }) as const),
        ...names.ips.map((value) => ({ type: "ip", value }) as const),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return { certificate: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/** SHA-256 of the certificate's DER bytes, base64url: what a join token pins. @throws AppError `invalid` for anything but one certificate. */
export function fingerprint(pem: string): string {
  return createHash("sha256").update(read(pem).raw).digest("base64url");
}

/** What decides whether a certificate still serves. @throws AppError `invalid` for anything but one certificate. */
export function readCertificate(pem: string): { readonly notAfterMs: number; readonly names: ServerNames } {
  const certificate = read(pem);
  const names = (certificate.subjectAltName ?? "").split(", ");
  const of = (kind: string): readonly string[] =>
    names.filter((name) => name.startsWith(kind)).map((name) => name.slice(kind.length));
  return {
    notAfterMs: Date.parse(certificate.validTo),
    names: { dns: of("DNS:"), ips: of("IP Address:").map(compressIp) },
  };
}

/** True when `certificate` was signed by `ca`. */
export function isSignedBy(certificate: string, ca: string): boolean {
  return read(certificate).verify(read(ca).publicKey);
}

function read(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new AppError("invalid", "Cannot read certificate: it is not one PEM certificate", { cause });
  }
}

/** OpenSSL prints `0:0:0:0:0:0:0:1`; names are compared in the short form that people write. */
function compressIp(ip: string): string {
  return isIP(ip) === 6 ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip;
}

/** Sorts given names into the two kinds that a certificate tells apart; our fixed ones come first, doubles go. */
export function serverNames(given: readonly string[]): ServerNames {
  const ips = ["127.0.0.1", "::1", ...given.filter((name) => isIP(name) !== 0).map(compressIp)];
  const dns = [SERVER_TLS_NAME, "localhost", ...given.filter((name) => isIP(name) === 0)];
  return { dns: [...new Set(dns)], ips: [...new Set(ips)] };
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as CryptoKeyPair;
}

async function exportKey(key: CryptoKey): Promise<string> {
  const bytes = new Uint8Array(await webcrypto.subtle.exportKey("pkcs8", key as webcrypto.CryptoKey));
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`;
}

async function importKey(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
  return (await webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"])) as CryptoKey;
}

/** Positive, 16 random bytes; a leading zero byte is no DER integer. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}
