package bpf

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/fairway-net/fairway/internal/testkit"
)

// The verifier of the running kernel accepts every program, and with a margin:
// kernels and compilers differ in how much they see.
func TestLoad(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const most = 200_000 // of the kernel's million instructions
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Fatalf("%+v", ve)
		}
		t.Fatal(err)
	}
	defer coll.Close()
	processed := regexp.MustCompile(`(?m)^processed (\d+) insns`)
	depth := regexp.MustCompile(`(?m)^stack depth (.*)$`)
	for _, name := range slices.Sorted(maps.Keys(coll.Programs)) {
		log := coll.Programs[name].VerifierLog
		m := processed.FindStringSubmatch(log)
		if m == nil {
			t.Fatalf("%s: no count in the verifier's log: %q", name, log)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		stack := ""
		if d := depth.FindStringSubmatch(log); d != nil {
			stack = d[1]
		}
		t.Logf("%-13s %6d instructions verified, stack %s", name, n, stack)
		if n > most {
			t.Errorf("%s: the verifier goes through %d instructions, want at most %d", name, n, most)
		}
	}
}

// A kernel that refuses the iterators has Services still.
func TestLoadWithoutIterators(t *testing.T) {
	testkit.NeedRoot(t)
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	spec.Programs[kernelProgReapUdp].AttachTo = "nothing"
	d := &Datapath{log: slog.New(slog.DiscardHandler)}
	if err := d.probeIterators(spec, nil); err != nil {
		t.Fatal(err)
	}
	if err := spec.LoadAndAssign(&d.objs, nil); err != nil {
		t.Fatal(err)
	}
	defer d.objs.Close()
	if (&reaper{objs: &d.objs}).able() {
		t.Error("the iterators are there")
	}
}
