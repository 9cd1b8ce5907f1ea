package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/summerwind/h2spec"
	h2config "github.com/summerwind/h2spec/config"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairway-net/fairway/internal/model"
	"github.com/fairway-net/fairway/internal/plan/route"
	"github.com/fairway-net/fairway/internal/proxy"
	"github.com/fairway-net/fairway/internal/state"
)

// What is fast has to be right first: upstream's own suites ask the proxy that the
// benchmark measures.

// gateway serves one backend, for all hosts and paths.
func gateway(t *testing.T, backend net.Addr, protocol string) *proxy.Server {
	t.Helper()
	server, err := proxy.New(proxy.Options{Listen: map[string]string{"http": "127.0.0.1:0", "https": "127.0.0.1:0"}, Drain: time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Open(); err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(backend.String())
	store := state.New()
	store.Update(func(tx *state.Tx) {
		name := model.Name{Namespace: "default", Name: "web"}
		tx.Set(&model.Service{Name: name, Ports: []model.ServicePort{{Name: "web", Protocol: model.TCP, Port: 80, AppProtocol: protocol}}})
		tx.Set(&model.EndpointSlice{Name: model.Name{Namespace: "default", Name: "web-1"}, Service: "web", Family: model.IPv4,
			Ports: []model.EndpointPort{{Name: "web", Protocol: model.TCP, Port: addr.Port()}}, Endpoints: []model.Endpoint{{Addr: addr.Addr(), Ready: true, Serving: true}}})
		tx.Set(&model.Ingress{Name: name, ClassName: "fairway", Annotations: map[string]string{}, Rules: []model.IngressRule{{
			Paths: []model.IngressPath{{Path: "/", Type: model.Prefix, Backend: model.IngressBackend{Service: "web", Port: model.IntOrString{Int: 80}}}}}}})
	})
	w := store.Watch()
	defer w.Close()
	snap, _ := w.Take()
	server.Apply(route.Make(snap, route.Params{}, time.Now()))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return server
}

// TestH2Spec runs github.com/summerwind/h2spec, strictly, over TLS: there the protocol
// is settled before the first octet. (Without TLS the port speaks HTTP/1.1, too, and
// answers what is no preface with that: 3.5/2 does not apply.)
func TestH2Spec(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = serveGRPC(ctx, l.Addr().String()) }()
	s := gateway(t, l.Addr(), "kubernetes.io/h2c")
	addr := s.Addr("https").(*net.TCPAddr)
	ok, err := h2spec.Run(&h2config.Config{Host: addr.IP.String(), Port: addr.Port, Path: "/", Timeout: 5 * time.Second, MaxHeaderLen: 4000, Strict: true, TLS: true, Insecure: true})
	if err != nil || !ok {
		t.Errorf("h2spec: %v, %v", ok, err)
	}
}

// TestGRPCInterop runs the cases of grpc's interoperability suite that need no
// credentials of a cloud; each ends the process when it fails.
func TestGRPCInterop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backend := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(backend, interop.NewTestServer())
	go func() { _ = backend.Serve(l) }()
	t.Cleanup(backend.Stop)
	s := gateway(t, l.Addr(), "grpc")
	for name, creds := range map[string]credentials.TransportCredentials{
		"http": insecure.NewCredentials(), "https": credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}),
	} {
		conn, err := grpc.NewClient(s.Addr(name).String(), grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := testgrpc.NewTestServiceClient(conn)
		for _, do := range []func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
			interop.DoEmptyUnaryCall, interop.DoLargeUnaryCall, interop.DoClientStreaming, interop.DoServerStreaming, interop.DoPingPong, interop.DoEmptyStream,
			interop.DoTimeoutOnSleepingServer, interop.DoCancelAfterBegin, interop.DoCancelAfterFirstResponse, interop.DoCustomMetadata,
			interop.DoStatusCodeAndMessage, interop.DoSpecialStatusMessage,
		} {
			do(ctx, c)
		}
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
		interop.DoUnimplementedMethod(ctx, conn)
	}
}
