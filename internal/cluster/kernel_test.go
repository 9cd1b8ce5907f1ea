package cluster

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

// TestKernelConfig: what is off, or not mentioned, is named with its use.
func TestKernelConfig(t *testing.T) {
	var all strings.Builder
	for i, o := range kernelOptions {
		all.WriteString(o.name + map[bool]string{true: "=y\n", false: "=m\n"}[o.name == "CONFIG_NET_CLS_BPF" || i%2 == 0])
	}
	for _, c := range []struct {
		name, config string
		level        Level
		want         string
	}{
		{"everything", "# comment\n" + all.String() + "CONFIG_HZ=250\n", OK, "all that is needed"},
		{"one is off", strings.Replace(all.String(), "CONFIG_NET_CLS_BPF=y", "# CONFIG_NET_CLS_BPF is not set", 1), Fail, "lacks CONFIG_NET_CLS_BPF (BPF programs on pods' links)"},
		{"an empty file", "", Fail, "CONFIG_VETH"},
	} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write([]byte(c.config)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		for _, gz := range []bool{false, true} {
			text := []byte(c.config)
			if gz {
				text = packed.Bytes()
			}
			set, err := readKernelConfig(bytes.NewReader(text), gz)
			if err != nil {
				t.Fatal(err)
			}
			if got := judgeKernelConfig(set, "config"); got.Level != c.level || !strings.Contains(got.Message, c.want) {
				t.Errorf("%s: %+v, want %s with %q", c.name, got, c.level, c.want)
			}
		}
	}
	if got := checkKernelConfig(nil); got.Level == Fail {
		t.Errorf("this kernel, which runs clusters: %+v", got)
	}
}
