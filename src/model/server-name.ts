/**
 * The name in every server's certificate, which each client asks for, whatever address it dials: addresses change, and the CA
 * belongs to the cluster alone.
 */
export const SERVER_TLS_NAME = "server.apollo.internal";
