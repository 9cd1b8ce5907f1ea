package main

import (
	"strings"
	"testing"
)

// TestGatewayFlags: what cannot be had together is said before anything is opened.
func TestGatewayFlags(t *testing.T) {
	status, _, stderr := runWith(t, "gateway", "--manifests", t.TempDir(), "--http3", "--proxy-protocol")
	if status == 0 || !strings.Contains(stderr, "exclude each other") || !strings.Contains(stderr, "QUIC") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
