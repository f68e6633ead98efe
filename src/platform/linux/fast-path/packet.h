/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading and mending the headers of one packet. */
#pragma once
#include "bpf-calls.h"

#define ICMP_ECHO 8
#define ICMP_ECHO_REPLY 0
#define ICMP_BYTES 8

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

