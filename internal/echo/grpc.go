package echo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxMessage is gRPC's usual limit for one received message.
const maxMessage = 4 << 20

// gRPC status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
const (
	grpcOK                = "0"
	grpcResourceExhausted = "8"
	grpcInternal          = "13"
)

// grpc speaks just enough of gRPC over HTTP/2 to be a peer: for every method
// each message comes back as it came, one by one, which serves unary and
// streaming calls alike. grpc.health.v1.Health/Check is answered properly, so
// that kubelet's gRPC probes work.
//
// The framing is that of
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: one byte of
// compression flag and four of length before each message; the status is a
// trailer.
func (h *Handler) grpc(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	// The client's compression is echoed with its messages.
	if enc := r.Header.Get("Grpc-Encoding"); enc != "" {
		w.Header().Set("Grpc-Encoding", enc)
	}
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.WriteHeader(http.StatusOK)
	code, err := h.grpcMessages(w, r)
	w.Header().Set("Grpc-Status", code)
	if err != nil {
		w.Header().Set("Grpc-Message", err.Error())
	}
}

func (h *Handler) grpcMessages(w http.ResponseWriter, r *http.Request) (code string, err error) {
	health := strings.HasSuffix(r.URL.Path, "/grpc.health.v1.Health/Check")
	flush := http.NewResponseController(w)
	for {
		message, err := readMessage(r.Body)
		switch {
		case errors.Is(err, io.EOF):
			return grpcOK, nil
		case errors.Is(err, errTooLong):
			return grpcResourceExhausted, err
		case err != nil:
			return grpcInternal, err
		}
		if health {
			message = h.healthMessage()
		}
		if _, err := w.Write(message); err != nil {
			return grpcInternal, err
		}
		if err := flush.Flush(); err != nil {
			return grpcInternal, err
		}
	}
}

var errTooLong = fmt.Errorf("message longer than %d bytes", maxMessage)

// readMessage returns one message with its prefix, and io.EOF at a clean end.
func readMessage(body io.Reader) ([]byte, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(body, prefix[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if length > maxMessage {
		return nil, errTooLong
	}
	message := make([]byte, 5+length)
	copy(message, prefix[:])
	if _, err := io.ReadFull(body, message[5:]); err != nil {
		return nil, fmt.Errorf("read message: %w", io.ErrUnexpectedEOF)
	}
	return message, nil
}

// healthMessage is a framed HealthCheckResponse: field 1 (status), SERVING = 1
// or NOT_SERVING = 2.
func (h *Handler) healthMessage() []byte {
	status := byte(1)
	if !h.ready.Load() {
		status = 2
	}
	return []byte{0, 0, 0, 0, 2, 0x08, status}
}
