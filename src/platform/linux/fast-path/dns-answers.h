/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Questions to this host's name server, and the answers to them that the agent has left. */
#pragma once
#include "fast-path-maps.h"
#include "packet.h"

#define DNS_PORT 53
#define DNS_ID_BYTES 2
#define DNS_AT (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr))
#define DNS6_AT (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr))
#define V4_MAPPED SWAP32(0xffff)
#define ANSWER_TTL 64
/*
 * Of each answer that is one of several. More would make the shares of those that are drawn first uneven for longer; fewer, more
 * questions for the agent.
 */
#define ANSWER_USES 32
#define DONT_FRAGMENT 0x4000

INLINE int is_whole_datagram(struct __sk_buff *skb, struct packet *packet) {
  struct iphdr *ip = packet->ip;
  struct udphdr *udp = (void *)(ip + 1);
  if (plain_header(packet) != sizeof(*udp) || (void *)(udp + 1) > packet->end) return 0;
  return SWAP16(ip->tot_len) == skb->len - ETH_HLEN && SWAP16(udp->len) == skb->len - ETH_HLEN - sizeof(*ip);
}

/* The answers to the question whose message begins at `at`, when there are answers to it now. */
INLINE struct answers *find_answers(struct __sk_buff *skb, __u32 at, struct dns_state *dns) {
  if (now_ns() >= dns->valid_until_ns || skb->gso_size) return 0;
  if (skb->len <= at + DNS_ID_BYTES || skb->len > at + DNS_ID_BYTES + QUESTION_BYTES_MAX) return 0;
  __u32 length = skb->len - at - DNS_ID_BYTES;
  struct question question = {.length = length};
  if (length < 1 || length > QUESTION_BYTES_MAX || load_bytes(skb, at + DNS_ID_BYTES, question.bytes, length)) return 0;
  struct answers *found = map_lookup(&dns_answers, &question);
  if (!found || found->generation != dns->generation) return 0;
  /*
   * Now and then one goes to the agent, which draws new ones then; the others need not wait for those. Several processors at
   * once may count as one: then there are a few uses more.
   */
  if (found->count > 1 && --found->uses_left <= 0) {
    found->uses_left = ANSWER_USES * found->count;
    return 0;
  }
  return found;
}

/*
 * Puts one of the answers in the place of the question whose message begins at `at`. Bytes of the message now; 0: nothing
 * was changed; below 0: the question is gone, and nobody else could answer it.
 */
INLINE int put_answer(struct __sk_buff *skb, __u32 at, struct answers *found) {
  __u32 length = found->length;
  __u32 chosen = found->count > 1 ? (random_number() % found->count) * length : 0;
  __u32 serial = found->serial;
  if (length < 1 || length > ANSWER_BYTES_MAX || chosen > ANSWER_BYTES_MAX) return 0;
  if (change_tail(skb, at + DNS_ID_BYTES + length, 0)) return 0;
  if (store_bytes(skb, at + DNS_ID_BYTES, found->bytes + chosen, length, 0)) return -1;
  /* The kernel uses an entry again while programs may still read it: then these were the bytes of two. */
  if (*(volatile __u32 *)&found->serial != serial) return -1;
  return DNS_ID_BYTES + length;
}

/*
 * Back to whoever asked, by addresses and ports. The sender's device may have been left to finish the UDP checksum: the field then has the sum of
 * the addresses and lengths alone, and so it must have again. Otherwise none is given, as RFC 768 allows.
 */
INLINE int turn_around(struct __sk_buff *skb, __u32 length) {
  struct iphdr *ip = (void *)(long)skb->data + ETH_HLEN;
  struct udphdr *udp = (void *)(ip + 1);
  if ((void *)(udp + 1) > (void *)(long)skb->data_end) return 0;
  int is_unfinished = udp->check == pseudo_sum(ip, udp->len);
  __u16 udp_bytes = sizeof(*udp) + length;
  struct {
    struct iphdr ip;
    struct udphdr udp;
  } back = {
      .ip = {.version = 4,
             .ihl = 5,
             .tot_len = SWAP16(sizeof(*ip) + udp_bytes),
             .frag_off = SWAP16(DONT_FRAGMENT),
             .ttl = ANSWER_TTL,
             .protocol = IPPROTO_UDP,
             .saddr = ip->daddr,
             .daddr = ip->saddr},
      .udp = {.source = udp->dest, .dest = udp->source, .len = SWAP16(udp_bytes)},
  };
  back.ip.check = ip_checksum(&back.ip);
  if (is_unfinished) back.udp.check = pseudo_sum(&back.ip, back.udp.len);
  return store_bytes(skb, ETH_HLEN, &back, sizeof(back), 0) == 0;
}

/* A question to this host's name server; the agent gets those that it has given no answer for. */
INLINE int to_gateway(struct __sk_buff *skb, struct packet *packet) {
  __u32 first = 0;
  __be16 client, port;
  if (packet->ip->protocol != IPPROTO_UDP || !read_ports(packet, &client, &port) || port != SWAP16(DNS_PORT)) return TC_ACT_OK;
  struct dns_state *dns = map_lookup(&dns_state, &first);
  struct dns_counters *seen = map_lookup(&dns_seen, &first);
  if (!dns || !seen || packet->ip->daddr != dns->gateway || (packet->eth->h_dest[0] & 1)) return TC_ACT_OK;
  struct answers *found = is_whole_datagram(skb, packet) ? find_answers(skb, DNS_AT, dns) : 0;
  if (!found) {
    seen->passed++;
    return TC_ACT_OK;
  }
  int length = put_answer(skb, DNS_AT, found);
  if (length == 0) return TC_ACT_OK;
  if (length < 0 || !turn_around(skb, length)) return TC_ACT_SHOT;
  struct ethhdr *eth = (void *)(long)skb->data;
  if ((void *)(eth + 1) > (void *)(long)skb->data_end) return TC_ACT_SHOT;
  __u8 mac[6];
  copy_mac(mac, eth->h_dest);
  copy_mac(eth->h_dest, eth->h_source);
  copy_mac(eth->h_source, mac);
  seen->answered++;
  return redirect_peer(skb->ifindex, 0);
}

/* The seat that the host asks at this address and port, if it is one. */
INLINE struct seat *seat_at(struct dns_state *dns, const __be32 *address, __be16 port) {
#pragma unroll
  for (int i = 0; i < SEATS; i++) {
    struct seat *seat = &dns->seats[i];
    if (seat->port != port || seat->address[0] != address[0] || seat->address[1] != address[1]) continue;
    if (seat->address[2] == address[2] && seat->address[3] == address[3]) return seat;
  }
  return 0;
}

/*
 * Whether this is whom the socket asked. A rule of the host may have led the question here (port 53 to 8600 is what Consul's handbook
 * has), and would lead our answer here as well, since the packet belongs to its connection; the agent's own answer is none of this packet's. So at
 * a port that is led to the question must come from a socket that is connected to it.
 */
INLINE int is_meant(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 bytes, __be16 port) {
  if (port == SWAP16(DNS_PORT)) return 1;
  struct bpf_sock *socket = find_udp_socket(skb, tuple, bytes, BPF_F_CURRENT_NETNS, 0);
  if (!socket) return 0;
  int meant = socket->dst_port == port;
  release_socket(socket);
  return meant;
}

/*
 * The packet has its way up and its place in the connection table already: what is written into it is received by whoever asked. Whoever has not
 * chosen his address asks from the one that he asks; other sources are those of rules, and are left alone.
 */
INLINE int from_host4(struct __sk_buff *skb) {
  __u32 first = 0;
  struct packet packet = {.eth = (void *)(long)skb->data, .end = (void *)(long)skb->data_end};
  packet.ip = (void *)(packet.eth + 1);
  struct iphdr *ip = packet.ip;
  struct udphdr *udp = (void *)(ip + 1);
  if ((void *)(udp + 1) > packet.end || ip->protocol != IPPROTO_UDP || ip->saddr != ip->daddr) return TC_ACT_OK;
  struct dns_state *dns = map_lookup(&dns_state, &first);
  struct dns_counters *seen = map_lookup(&dns_seen, &first);
  if (!dns || !seen) return TC_ACT_OK;
  __be32 address[4] = {0, 0, V4_MAPPED, ip->daddr};
  struct seat *seat = seat_at(dns, address, udp->dest);
  if (!seat || !is_whole_datagram(skb, &packet)) return TC_ACT_OK;
  int counts = !(seat->flags & SEAT_UNCOUNTED);
  struct bpf_sock_tuple tuple = {.ipv4 = {.saddr = ip->daddr, .daddr = ip->saddr, .sport = udp->dest, .dport = udp->source}};
  struct answers *found = is_meant(skb, &tuple, sizeof(tuple.ipv4), udp->dest) ? find_answers(skb, DNS_AT, dns) : 0;
  int length = found ? put_answer(skb, DNS_AT, found) : 0;
  if (length == 0) {
    seen->passed += counts;
    return TC_ACT_OK;
  }
  if (length < 0 || !turn_around(skb, length)) return TC_ACT_SHOT;
  seen->answered += counts;
  return TC_ACT_OK;
}

INLINE __u16 pseudo_sum6(struct ipv6hdr *ip, __be16 udp_bytes) {
  __u64 sum = SWAP16(IPPROTO_UDP) + udp_bytes;
#pragma unroll
  for (int i = 0; i < 4; i++) sum += (__u64)ip->saddr.s6_addr32[i] + ip->daddr.s6_addr32[i];
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}

INLINE int same_address6(const struct in6_addr *a, const struct in6_addr *b) {
  return a->s6_addr32[0] == b->s6_addr32[0] && a->s6_addr32[1] == b->s6_addr32[1] && a->s6_addr32[2] == b->s6_addr32[2] &&
         a->s6_addr32[3] == b->s6_addr32[3];
}

/* Source and destination are the same address, so lengths and ports are all that changes. */
INLINE int turn_around6(struct __sk_buff *skb, __u32 length) {
  struct ipv6hdr *ip = (void *)(long)skb->data + ETH_HLEN;
  struct udphdr *udp = (void *)(ip + 1);
  if ((void *)(udp + 1) > (void *)(long)skb->data_end) return 0;
  __be16 bytes = SWAP16(sizeof(*udp) + length);
  struct udphdr back = {.source = udp->dest, .dest = udp->source, .len = bytes, .check = pseudo_sum6(ip, bytes)};
  if (store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, payload_len), &bytes, sizeof(bytes), 0)) return 0;
  return store_bytes(skb, ETH_HLEN + sizeof(*ip), &back, sizeof(back), 0) == 0;
}

/* IPv6 has no datagrams without a checksum: where it is finished already, the agent makes the answer. */
INLINE int from_host6(struct __sk_buff *skb) {
  __u32 first = 0;
  struct ipv6hdr *ip = (void *)(long)skb->data + ETH_HLEN;
  struct udphdr *udp = (void *)(ip + 1);
  if ((void *)(udp + 1) > (void *)(long)skb->data_end || ip->nexthdr != IPPROTO_UDP) return TC_ACT_OK;
  if (!same_address6(&ip->saddr, &ip->daddr)) return TC_ACT_OK;
  struct dns_state *dns = map_lookup(&dns_state, &first);
  struct dns_counters *seen = map_lookup(&dns_seen, &first);
  if (!dns || !seen) return TC_ACT_OK;
  struct seat *seat = seat_at(dns, ip->daddr.s6_addr32, udp->dest);
  if (!seat || ip->payload_len != udp->len || SWAP16(udp->len) != skb->len - ETH_HLEN - sizeof(*ip)) return TC_ACT_OK;
  int counts = !(seat->flags & SEAT_UNCOUNTED);
  int length = 0;
  if (udp->check == pseudo_sum6(ip, udp->len)) {
    struct bpf_sock_tuple tuple = {.ipv6 = {.sport = udp->dest, .dport = udp->source}};
    __builtin_memcpy(tuple.ipv6.saddr, &ip->daddr, sizeof(ip->daddr));
    __builtin_memcpy(tuple.ipv6.daddr, &ip->saddr, sizeof(ip->saddr));
    struct answers *found = is_meant(skb, &tuple, sizeof(tuple.ipv6), udp->dest) ? find_answers(skb, DNS6_AT, dns) : 0;
    if (found) length = put_answer(skb, DNS6_AT, found);
  }
  if (length == 0) {
    seen->passed += counts;
    return TC_ACT_OK;
  }
  if (length < 0 || !turn_around6(skb, length)) return TC_ACT_SHOT;
  seen->answered += counts;
  return TC_ACT_OK;
}
