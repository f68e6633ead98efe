/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the programs know, and what they count. The layout of keys and values is repeated in encode-entries.ts and encode-answers.ts. */
#pragma once
#include "bpf-calls.h"

/* Where the host itself may ask: SEATS_MAX of encode-answers.ts. */
#define SEATS 8
#define QUESTION_BYTES_MAX 126
#define ANSWER_BYTES_MAX 512

enum route_kind { ROUTE_DIRECT = 1, ROUTE_TUNNEL = 2, ROUTE_SLOW = 3, ROUTE_VIRTUAL = 4, ROUTE_LOCAL = 5 };
enum port_flag { PORT_SLOW = 1, PORT_ENDS = 2 };
/* The agent asks itself there. */
enum seat_flag { SEAT_UNCOUNTED = 1 };

struct source_key {
  __u32 ifindex;
  __be32 address;
};
struct source {
  __u8 mac[6];
  __u16 flags;
};
struct endpoint {
  __u32 ifindex;
  __u32 flags;
  __u8 mac[6];
  __u8 gateway_mac[6];
};
struct route_key {
  __u32 prefix;
  __be32 address;
};
struct route {
  __u32 kind;
  __u32 ifindex;
  __be32 next_hop;
  __u32 mtu;
  __be32 peer;
  __be32 local;
};
/* RFC 7348, from the outer IPv4 header to where the inner frame begins. */
struct outer {
  struct iphdr ip;
  struct udphdr udp;
  __be32 flags;
  __be32 vni;
};
#define TUNNEL_BYTES (sizeof(struct outer) + ETH_HLEN)
struct flow {
  __be32 client;
  __be16 port;
  __u16 protocol;
};
struct counters {
  __u64 sent_packets, sent_bytes, received_packets, received_bytes, refused_packets;
};
struct settings {
  __u32 virtual_ranges;
};
/* A question as it came but for its id; zeroes behind it. */
struct question {
  __u16 length;
  __u8 bytes[QUESTION_BYTES_MAX];
};
/* What may be said to a question: `count` answers of `length` bytes each, without id, side by side. */
struct answers {
  /* Of no other that was ever put. */
  __u32 serial;
  __u32 generation;
  /* Until a question goes to the agent, so that it draws new ones; means nothing when there is but one. */
  __s32 uses_left;
  __u16 length;
  __u16 count;
  __u8 bytes[2 * ANSWER_BYTES_MAX];
};
/* Where the agent answers the host; IPv4 addresses as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2), port 0 where there is none. */
struct seat {
  __be32 address[4];
  __be16 port;
  __u16 flags;
};
struct dns_state {
  /* Nothing is answered from then on: the agent has not been heard of. */
  __u64 valid_until_ns;
  __u32 generation;
  __be32 gateway;
  struct seat seats[SEATS];
};
struct dns_counters {
  __u64 answered, passed;
};

SECTION("maps") struct map_spec settings = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct settings), 1, 0};
SECTION("maps") struct map_spec sources = {BPF_MAP_TYPE_HASH, sizeof(struct source_key), sizeof(struct source), 16384, BPF_F_NO_PREALLOC};
SECTION("maps") struct map_spec endpoints = {BPF_MAP_TYPE_HASH, 4, sizeof(struct endpoint), 16384, BPF_F_NO_PREALLOC};
SECTION("maps") struct map_spec routes = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct route_key), sizeof(struct route), 65536, BPF_F_NO_PREALLOC};
/* Clients of virtual addresses: the answers must meet the connection table that translated the question. */
SECTION("maps") struct map_spec translated = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow), 4, 65536, 0};
SECTION("maps") struct map_spec ports_seen = {BPF_MAP_TYPE_PERCPU_HASH, 4, sizeof(struct counters), 16384, BPF_F_NO_PREALLOC};
SECTION("maps") struct map_spec peers_seen = {BPF_MAP_TYPE_PERCPU_HASH, 4, sizeof(struct counters), 16384, BPF_F_NO_PREALLOC};
SECTION("maps") struct map_spec dns_state = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct dns_state), 1, 0};
SECTION("maps") struct map_spec dns_answers = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct question), sizeof(struct answers), 4096, 0};
SECTION("maps") struct map_spec dns_seen = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct dns_counters), 1, 0};

INLINE struct counters *counters_of(void *map, __u32 key) {
  struct counters *found = map_lookup(map, &key);
  if (found) return found;
  struct counters none = {};
  map_update(map, &key, &none, BPF_NOEXIST);
  return map_lookup(map, &key);
}

INLINE __u32 packets_of(struct __sk_buff *skb) {
  __u32 segments = skb->gso_segs;
  return segments ? segments : 1;
}

INLINE void count_sent(void *map, __u32 key, struct __sk_buff *skb) {
  struct counters *seen = counters_of(map, key);
  if (!seen) return;
  seen->sent_packets += packets_of(skb);
  seen->sent_bytes += skb->len - ETH_HLEN;
}

INLINE void count_received(void *map, __u32 key, __u32 packets, __u32 bytes) {
  struct counters *seen = counters_of(map, key);
  if (!seen) return;
  seen->received_packets += packets;
  seen->received_bytes += bytes;
}

INLINE void count_refused(__u32 ifindex) {
  struct counters *seen = counters_of(&ports_seen, ifindex);
  if (seen) seen->refused_packets += 1;
}
