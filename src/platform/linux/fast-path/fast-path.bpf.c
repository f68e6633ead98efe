/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The fast path: what the kernel's own way through bridge, netfilter and routing does to a packet between two containers,
 * in the few steps that are left when the answers are known. Programs at the ingress of four kinds of devices:
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
 */
#include "dns-answers.h"
#include "fast-path-maps.h"
#include "packet.h"

#define AF_INET 2
/* TUNNEL_PORT and TUNNEL_VNI of plan-network.ts. */
#define VXLAN_PORT 6784
#define VXLAN_VNI 201
#define VXLAN_HAS_VNI 0x08000000
#define OUTER_TTL 64
#define ECN_BITS 3

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
