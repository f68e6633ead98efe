/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a program asks of the kernel, by the numbers of its functions (bpf-helpers(7)), and how a map is declared to parse-bpf-object.ts. */
#pragma once
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
