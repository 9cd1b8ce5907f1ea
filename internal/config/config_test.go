package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for k, v := range map[string]string{
		"apiServer": "https://198.18.0.2:6443\n",
		"podCIDRs":  "10.244.0.0/16, fd00:10::/56",
		"dnsIP":     "10.96.0.10",
		"lbPools":   "198.18.16.0/24 edge=192.0.2.1-192.0.2.9+192.0.2.77",
	} {
		if err := os.WriteFile(filepath.Join(dir, k), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "{https://198.18.0.2:6443 cluster.local 10.96.0.10 [10.244.0.0/16 fd00:10::/56] [] [{default [198.18.16.0-198.18.16.255]} {edge [192.0.2.1-192.0.2.9 192.0.2.77-192.0.2.77]}]}"
	if got := fmt.Sprint(c); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoadNamesTheKey(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "lbPools"), []byte("192.0.2.9-192.0.2.1"), 0o600)
	os.WriteFile(filepath.Join(dir, "dnsIP"), []byte("ten"), 0o600)
	_, err := Load(dir)
	for _, part := range []string{"config key lbPools", "192.0.2.9-192.0.2.1", "config key dnsIP"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not contain %q", err, part)
		}
	}
}
