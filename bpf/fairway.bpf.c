/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The whole datapath as one object, so that its hooks share one set of maps. */
#include "sock.bpf.c"
#include "node.bpf.c"
#include "pod.bpf.c"
#include "reap.bpf.c"

char __license[] SEC("license") = "GPL";
