package service

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/state"
)

// A kernel without SCTP: the port is planned, and it is said what does not work.
func TestNoSCTP(t *testing.T) {
	svc := &model.Service{
		Name: model.Name{Namespace: "shop", Name: "sig"}, UID: "u", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:96::1")},
		Ports: []model.ServicePort{{Name: "web", Protocol: model.TCP, Port: 80}, {Name: "sig", Protocol: model.SCTP, Port: 80}},
	}
	store := state.New()
	store.Update(func(tx *state.Tx) { tx.Set(svc) })
	key := Key{Kind: model.KindService, Name: svc.Name}
	with := For(store.Snapshot(), Params{Node: "here"}, key)
	without := For(store.Snapshot(), Params{Node: "here", NoSCTP: true}, key)
	if len(with.Rejected) != 0 || len(without.Rejected) != 1 || len(without.Ports) != len(with.Ports) || len(with.Ports) != 4 {
		t.Fatalf("with SCTP:\n%s\nwithout:\n%s", &with, &without)
	}
	r := without.Rejected[0]
	if r.Ref.UID != "u" || r.Field != "spec.ports[1].protocol" || r.Reason != "NoSCTP" || !strings.Contains(r.Message, "node here") {
		t.Errorf("%+v", r)
	}
}
