/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The fast path: what the kernel's own way through bridge, netfilter and routing does to a packet between two containers,
 * in the few steps that are left when the answers are known. Three programs at the ingress of three kinds of devices:
 *
 *   from_container  host end of a container's veth: checks the source, finds the peer's block, hands to its next hop; where
 *                   that is a tunnel, writes the outer headers itself, as the VXLAN device would
 *   from_uplink     device to the other hosts: finds the container, hands the packet into its namespace; takes off the outer
 *                   headers itself where nothing behind could tell
 *   from_tunnel     the same for what came out of the VXLAN device
 *   from_host       loopback: answers the host's own questions about names, and does nothing else
 *
 * Whatever is not plain goes on as if there was no program (TC_ACT_OK): other protocols than IPv4, options, fragments, TTL at
 * its end, packets larger than the way carries (the kernel answers with ICMP), ICMP other than echo, addresses marked slow,
 * and every TCP segment with SYN: so the filters of the host see each connection open, and segment sizes are clamped
 * where they always were. Nothing but a packet with somebody else's source is ever dropped here.
 *
 * The layout of keys and values is repeated in encode-entries.ts.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define SWAP16(value) ((__u16)__builtin_bswap16(value))
#define SWAP32(value) ((__u32)__builtin_bswap32(value))
#define AF_INET 2
#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMP_BYTES 8
/* TUNNEL_PORT and TUNNEL_VNI of plan-network.ts. */
#define VXLAN_PORT 6784
#define VXLAN_VNI 201
#define VXLAN_HAS_VNI 0x08000000
#define OUTER_TTL 64
#define ECN_BITS 3
#define DNS_PORT 53
#define DNS_ID_BYTES 2
#define DNS_AT (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr))
#define DNS6_AT (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct udphdr))
/* Where the host itself may ask: SEATS_MAX of encode-answers.ts. */
#define SEATS 8
#define V4_MAPPED SWAP32(0xffff)
#define QUESTION_BYTES_MAX 126
#define ANSWER_BYTES_MAX 512
#define ANSWER_TTL 64
/*
 * Of each answer that is one of several. More would make the shares of those that are drawn first uneven for longer; fewer, more
 * questions for the agent.
 */
#define ANSWER_USES 32
#define DONT_FRAGMENT 0x4000

struct map_spec {
  __u32 type, key_bytes, value_bytes, entries, flags;
};

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static long (*pull_data)(struct __sk_buff *skb, __u32 bytes) = (void *)BPF_FUNC_skb_pull_data;
static long (*check_mtu)(void *context, __u32 ifindex, __u32 *bytes, __s32 difference, __u64 flags) = (void *)BPF_FUNC_check_mtu;
static long (*redirect_neigh)(__u32 ifindex, struct bpf_redir_neigh *hop, int bytes, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static long (*adjust_room)(struct __sk_buff *skb, __s32 bytes, __u32 mode, __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static __u32 (*flow_hash)(struct __sk_buff *skb) = (void *)BPF_FUNC_get_hash_recalc;
static __u32 (*random_number)(void) = (void *)BPF_FUNC_get_prandom_u32;
static long (*redirect_peer)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect_peer;
static __u64 (*now_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 bytes) = (void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 bytes, __u64 flags) = (void *)BPF_FUNC_skb_store_bytes;
static struct bpf_sock *(*find_udp_socket)(void *context, struct bpf_sock_tuple *tuple, __u32 bytes, __u64 namespace, __u64 flags) = (void *)BPF_FUNC_sk_lookup_udp;
static long (*release_socket)(void *socket) = (void *)BPF_FUNC_sk_release;
static long (*change_tail)(struct __sk_buff *skb, __u32 bytes, __u64 flags) = (void *)BPF_FUNC_skb_change_tail;

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

INLINE int same_mac(const __u8 *a, const __u8 *b) {
  return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

INLINE void copy_mac(__u8 *to, const __u8 *from) {
#pragma unroll
  for (int i = 0; i < 6; i++) to[i] = from[i];
}

/* RFC 1624: the field goes down by one, so the checksum goes up by as much. */
INLINE void decrease_ttl(struct iphdr *ip) {
  __u32 check = ip->check;
  check += SWAP16(0x0100);
  ip->check = (__u16)(check + (check >= 0xffff));
  ip->ttl--;
}

struct packet {
  struct ethhdr *eth;
  struct iphdr *ip;
  void *end;
};

/* Headers in reach, or nothing that we understand. */
INLINE int open_packet(struct __sk_buff *skb, struct packet *packet) {
  if (skb->protocol != SWAP16(ETH_P_IP) || skb->vlan_present) return 0;
  __u32 wanted = ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr);
  if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end) pull_data(skb, skb->len < wanted ? skb->len : wanted);
  packet->eth = (void *)(long)skb->data;
  packet->end = (void *)(long)skb->data_end;
  packet->ip = (void *)(packet->eth + 1);
  return (void *)(packet->ip + 1) <= packet->end;
}

/* Length of the header behind the IPv4 header when the packet is of a kind that needs nothing but forwarding, else 0. */
INLINE __u32 plain_header(struct packet *packet) {
  struct iphdr *ip = packet->ip;
  void *next = ip + 1;
  if (ip->version != 4 || ip->ihl != 5 || ip->ttl <= 1 || (ip->frag_off & SWAP16(0x3fff))) return 0;
  if (ip->protocol == IPPROTO_TCP) {
    struct tcphdr *tcp = next;
    if ((void *)(tcp + 1) > packet->end || tcp->syn) return 0;
    return tcp->doff * 4;
  }
  if (ip->protocol == IPPROTO_UDP) {
    struct udphdr *udp = next;
    return (void *)(udp + 1) > packet->end ? 0 : sizeof(*udp);
  }
  if (ip->protocol == IPPROTO_ICMP) {
    __u8 *type = next;
    if ((void *)(type + ICMP_BYTES) > packet->end) return 0;
    return *type == ICMP_ECHO || *type == ICMP_ECHO_REPLY ? ICMP_BYTES : 0;
  }
  return 0;
}

/* Source and destination port stand first in TCP and UDP alike. */
INLINE int read_ports(struct packet *packet, __be16 *source, __be16 *destination) {
  struct iphdr *ip = packet->ip;
  if (ip->ihl != 5 || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)) return 0;
  __be16 *ports = (void *)(ip + 1);
  if ((void *)(ports + 2) > packet->end) return 0;
  *source = ports[0];
  *destination = ports[1];
  return 1;
}

/* The device is there and carries the packet; a device that is gone was replaced while no agent looked. */
INLINE int fits(struct __sk_buff *skb, __u32 ifindex) {
  __u32 bytes = 0;
  return check_mtu(skb, ifindex, &bytes, 0, BPF_MTU_CHK_SEGS) == 0;
}

INLINE struct route *route_to(__be32 address) {
  struct route_key key = {32, address};
  return map_lookup(&routes, &key);
}

INLINE void remember_translated(struct packet *packet) {
  struct flow flow = {.client = packet->ip->saddr, .protocol = packet->ip->protocol};
  __be16 other;
  __u32 yes = 1;
  if (!read_ports(packet, &flow.port, &other)) return;
  if (!map_lookup(&translated, &flow)) map_update(&translated, &flow, &yes, BPF_ANY);
}

INLINE __u16 ip_checksum(struct iphdr *ip) {
  __u16 *words = (void *)ip;
  __u32 sum = 0;
#pragma unroll
  for (int i = 0; i < 10; i++) sum += words[i];
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16) ~(sum + (sum >> 16));
}

/* Of addresses, protocol and length, as RFC 768 has them before the datagram. */
INLINE __u16 pseudo_sum(struct iphdr *ip, __be16 udp_bytes) {
  __u64 sum = (__u64)ip->saddr + ip->daddr + SWAP16(IPPROTO_UDP) + udp_bytes;
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)(sum + (sum >> 16));
}

/* An IPv4 packet that is one whole UDP datagram, and says so in all of its headers. */
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

INLINE int to_local(struct __sk_buff *skb, struct packet *packet) {
  __be32 address = packet->ip->daddr;
  struct endpoint *to = map_lookup(&endpoints, &address);
  if (!to) return to_gateway(skb, packet);
  if ((to->flags & PORT_SLOW) || !plain_header(packet)) return TC_ACT_OK;
  if (!same_mac(packet->eth->h_dest, to->mac) || !fits(skb, to->ifindex)) return TC_ACT_OK;
  count_sent(&ports_seen, skb->ifindex, skb);
  count_received(&ports_seen, to->ifindex, packets_of(skb), skb->len - ETH_HLEN);
  return redirect_peer(to->ifindex, 0);
}

/* tunnelMac() of mac.ts. */
INLINE void put_tunnel_mac(__u8 *to, __be32 gateway) {
  to[0] = 0x0a;
  to[1] = 0x70;
  __builtin_memcpy(to + 2, &gateway, sizeof(gateway));
}

/*
 * What the VXLAN device of a peer takes for a packet of ours: no UDP checksum, as RFC 7348 has it for IPv4; the source port
 * tells flows apart; may be split, as packets of the device itself; ECN outside as inside (RFC 6040). Nobody reads the inner
 * source MAC. Large TCP and UDP packets stay whole (FIXED_GSO): their segments were made for the tunnel's size.
 */
INLINE int into_tunnel(struct __sk_buff *skb, struct route *route, __u8 tos) {
  __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
                BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
  __u32 inner_bytes = skb->len;
  __u32 hash = flow_hash(skb);
  /* Refused when the packet is in a tunnel already, which the device copes with. */
  if (inner_bytes + sizeof(struct outer) > 0xffff || adjust_room(skb, TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, flags)) return TC_ACT_OK;
  struct outer *outer = (void *)(long)skb->data + ETH_HLEN;
  struct ethhdr *eth = (void *)(outer + 1);
  struct iphdr *inner = (void *)(eth + 1);
  if ((void *)(inner + 1) > (void *)(long)skb->data_end) return TC_ACT_SHOT;
  outer->ip = (struct iphdr){
      .version = 4,
      .ihl = 5,
      .tos = tos & ECN_BITS,
      .tot_len = SWAP16(inner_bytes + sizeof(struct outer)),
      .id = (__u16)random_number(),
      .ttl = OUTER_TTL,
      .protocol = IPPROTO_UDP,
      .saddr = route->local,
      .daddr = route->peer,
  };
  outer->ip.check = ip_checksum(&outer->ip);
  outer->udp.source = SWAP16(0xc000 | (hash >> 18));
  outer->udp.dest = SWAP16(VXLAN_PORT);
  outer->udp.len = SWAP16(inner_bytes + sizeof(struct outer) - sizeof(struct iphdr));
  outer->udp.check = 0;
  outer->flags = SWAP32(VXLAN_HAS_VNI);
  outer->vni = SWAP32(VXLAN_VNI << 8);
  put_tunnel_mac(eth->h_dest, route->next_hop);
  put_tunnel_mac(eth->h_source, route->local);
  eth->h_proto = SWAP16(ETH_P_IP);
  decrease_ttl(inner);
  /* The kernel finds the next hop to the peer. */
  return redirect_neigh(route->ifindex, 0, 0, 0);
}

SECTION("classifier/from_container") int from_container(struct __sk_buff *skb) {
  struct packet packet;
  if (!open_packet(skb, &packet)) return TC_ACT_OK;
  struct source_key from = {skb->ifindex, packet.ip->saddr};
  struct source *source = map_lookup(&sources, &from);
  if (!source || !same_mac(packet.eth->h_source, source->mac)) {
    count_refused(skb->ifindex);
    return TC_ACT_SHOT;
  }
  if (source->flags & PORT_SLOW) return TC_ACT_OK;
  struct route *route = route_to(packet.ip->daddr);
  if (!route || route->kind == ROUTE_SLOW) return TC_ACT_OK;
  if (route->kind == ROUTE_VIRTUAL) {
    remember_translated(&packet);
    return TC_ACT_OK;
  }
  if (route->kind == ROUTE_LOCAL) return to_local(skb, &packet);
  __u32 header = plain_header(&packet);
  if (!header) return TC_ACT_OK;
  __u32 bytes = skb->gso_size ? sizeof(struct iphdr) + header + skb->gso_size : skb->len - ETH_HLEN;
  if (bytes > route->mtu || !fits(skb, route->ifindex)) return TC_ACT_OK;
  count_sent(&ports_seen, skb->ifindex, skb);
  count_sent(&peers_seen, route->peer, skb);
  if (route->kind == ROUTE_TUNNEL) return into_tunnel(skb, route, packet.ip->tos);
  struct bpf_redir_neigh hop = {.nh_family = AF_INET, .ipv4_nh = route->next_hop};
  decrease_ttl(packet.ip);
  return redirect_neigh(route->ifindex, &hop, sizeof(hop), 0);
}

INLINE int is_translated(struct packet *packet) {
  __u32 first = 0;
  struct settings *set = map_lookup(&settings, &first);
  if (!set || !set->virtual_ranges) return 0;
  struct flow flow = {.client = packet->ip->daddr, .protocol = packet->ip->protocol};
  __be16 other;
  return read_ports(packet, &other, &flow.port) && map_lookup(&translated, &flow);
}

/* Counts the packet, and puts it into the container as its router would. */
INLINE int hand_over(struct __sk_buff *skb, struct endpoint *to, __be32 peer, __u32 packets) {
  struct ethhdr *eth = (void *)(long)skb->data;
  struct iphdr *ip = (void *)(eth + 1);
  if ((void *)(ip + 1) > (void *)(long)skb->data_end) return TC_ACT_SHOT;
  __u32 bytes = skb->len - ETH_HLEN;
  count_received(&ports_seen, to->ifindex, packets, bytes);
  count_received(&peers_seen, peer, packets, bytes);
  copy_mac(eth->h_dest, to->mac);
  copy_mac(eth->h_source, to->gateway_mac);
  decrease_ttl(ip);
  return redirect_peer(to->ifindex, 0);
}

/* Only what a peer may send us this way: for the rest the host's own rules say what they let in. */
INLINE struct route *way_back(struct packet *packet, __u32 kind) {
  struct route *route = route_to(packet->ip->saddr);
  return route && route->kind == kind && !is_translated(packet) ? route : 0;
}

INLINE int from_peer(struct __sk_buff *skb, struct packet *packet, __u32 kind) {
  __be32 address = packet->ip->daddr;
  struct endpoint *to = map_lookup(&endpoints, &address);
  if (!to || (to->flags & PORT_SLOW) || !plain_header(packet)) return TC_ACT_OK;
  struct route *route = way_back(packet, kind);
  if (!route || !fits(skb, to->ifindex)) return TC_ACT_OK;
  return hand_over(skb, to, route->peer, packets_of(skb));
}

/*
 * As fits(), for what is inside: the kernel cannot check the segments of a size to come. It still takes the opened packet
 * for one in a tunnel when it is large: cut into segments once more it would be garbage. So only what ends here is opened.
 */
INLINE int inner_fits(struct __sk_buff *skb, struct endpoint *to, __u32 header) {
  __u32 mtu = 0;
  if (!(to->flags & PORT_ENDS) || check_mtu(skb, to->ifindex, &mtu, 0, 0) < 0) return 0;
  return (skb->gso_size ? sizeof(struct iphdr) + header + skb->gso_size : skb->len - ETH_HLEN - TUNNEL_BYTES) <= mtu;
}

/* What the VXLAN device would do with a packet of a peer: RFC 7348. A mark of congestion outside (RFC 6040) is left to it. */
INLINE int open_tunnel(struct __sk_buff *skb) {
  __u32 wanted = ETH_HLEN + TUNNEL_BYTES + sizeof(struct iphdr) + sizeof(struct tcphdr);
  if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end) pull_data(skb, skb->len < wanted ? skb->len : wanted);
  struct outer *outer = (void *)(long)skb->data + ETH_HLEN;
  struct packet inner = {.eth = (void *)(outer + 1), .end = (void *)(long)skb->data_end};
  inner.ip = (void *)(inner.eth + 1);
  if ((void *)(inner.ip + 1) > inner.end || inner.eth->h_proto != SWAP16(ETH_P_IP)) return TC_ACT_OK;
  if (outer->udp.check || outer->flags != SWAP32(VXLAN_HAS_VNI) || outer->vni != SWAP32(VXLAN_VNI << 8)) return TC_ACT_OK;
  if ((outer->ip.tos & ECN_BITS) == ECN_BITS) return TC_ACT_OK;
  __u32 header = plain_header(&inner);
  __be32 address = inner.ip->daddr;
  struct endpoint *to = map_lookup(&endpoints, &address);
  if (!header || !to || (to->flags & PORT_SLOW) || !inner_fits(skb, to, header)) return TC_ACT_OK;
  struct route *route = way_back(&inner, ROUTE_TUNNEL);
  if (!route || route->peer != outer->ip.saddr || route->local != outer->ip.daddr) return TC_ACT_OK;
  __u32 packets = packets_of(skb);
  /* What the kernel will not do to this packet it leaves undone. */
  if (adjust_room(skb, -(__s32)TUNNEL_BYTES, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) return TC_ACT_OK;
  return hand_over(skb, to, route->peer, packets);
}

INLINE int is_tunnel(struct packet *packet) {
  struct udphdr *udp = (void *)(packet->ip + 1);
  if (packet->ip->protocol != IPPROTO_UDP || plain_header(packet) != sizeof(*udp)) return 0;
  return (void *)(udp + 1) <= packet->end && udp->dest == SWAP16(VXLAN_PORT);
}

SECTION("classifier/from_uplink") int from_uplink(struct __sk_buff *skb) {
  struct packet packet;
  if (skb->pkt_type != 0 || !open_packet(skb, &packet)) return TC_ACT_OK;
  return is_tunnel(&packet) ? open_tunnel(skb) : from_peer(skb, &packet, ROUTE_DIRECT);
}

SECTION("classifier/from_tunnel") int from_tunnel(struct __sk_buff *skb) {
  struct packet packet;
  if (skb->pkt_type != 0 || !open_packet(skb, &packet)) return TC_ACT_OK;
  return from_peer(skb, &packet, ROUTE_TUNNEL);
}

/*
 * All traffic of the host with itself comes by here: nothing is written into a packet in place, as the kernel would copy each
 * one for a program that does so, and nothing is pulled in reach.
 */
SECTION("classifier/from_host") int from_host(struct __sk_buff *skb) {
  if (skb->protocol == SWAP16(ETH_P_IP)) return from_host4(skb);
  if (skb->protocol == SWAP16(ETH_P_IPV6)) return from_host6(skb);
  return TC_ACT_OK;
}

/* As the kernel reads it: bpf_check_mtu is for programs under the GPL only. */
char program_license[] SECTION("license") = "GPL";
