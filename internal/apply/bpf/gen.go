package bpf

// clang-19 and llvm-strip-19 are needed to run this, not to build Fairway: its
// output is committed.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type frontend_key -type frontend -type slot_key -type backend -type member_key -type member kernel ../../../bpf/fairway.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -nostdinc
