package mirror

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Containerd asks containerd's image store. It is a gRPC client for the one
// call that we make, since gRPC is HTTP/2 with five bytes before each message:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
type Containerd struct {
	client    *http.Client
	namespace string
}

// NewContainerd returns a client for one of containerd's namespaces; Kubernetes
// uses "k8s.io".
func NewContainerd(socket, namespace string) *Containerd {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &Containerd{
		namespace: namespace,
		client: &http.Client{Transport: &http.Transport{
			Protocols: protocols,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}},
	}
}

const (
	grpcOK       = "0"
	grpcNotFound = "5"

	maxMessage = 1 << 20 // a descriptor and labels
)

// Get implements Images by
// containerd.services.images.v1.Images/Get (GetImageRequest{name = 1}).
func (c *Containerd) Get(ctx context.Context, name string) (Descriptor, error) {
	message := binary.AppendUvarint([]byte{1<<3 | wireBytes}, uint64(len(name)))
	message = append(message, name...)
	frame := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...) // 0: not compressed
	frame = append(frame, message...)

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://containerd/containerd.services.images.v1.Images/Get", bytes.NewReader(frame))
	if err != nil {
		return Descriptor{}, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set("Containerd-Namespace", c.namespace)
	resp, err := c.client.Do(req)
	if err != nil {
		return Descriptor{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return Descriptor{}, err
	}
	// An answer without a message has its status in the header.
	status, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" {
		status, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch {
	case status == grpcNotFound:
		return Descriptor{}, ErrNotFound
	case status != grpcOK:
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		return Descriptor{}, fmt.Errorf("get image %s: HTTP status %d, gRPC status %q: %s", name, resp.StatusCode, status, text)
	case len(body) < 5 || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5:
		return Descriptor{}, errors.New("get image " + name + ": the answer is not one plain message")
	}
	return parseImage(body[5:])
}

// parseImage reads GetImageResponse{image = 1}, Image{target = 3} and
// Descriptor{media_type = 1, digest = 2}.
func parseImage(response []byte) (Descriptor, error) {
	image, err := field(response, 1)
	if err != nil {
		return Descriptor{}, err
	}
	target, err := field(image, 3)
	if err != nil {
		return Descriptor{}, err
	}
	mediaType, err1 := field(target, 1)
	digest, err2 := field(target, 2)
	d := Descriptor{MediaType: string(mediaType), Digest: string(digest)}
	if err := errors.Join(err1, err2); err != nil {
		return Descriptor{}, err
	}
	if d.MediaType == "" || d.Digest == "" {
		return Descriptor{}, errors.New("read image: no descriptor")
	}
	return d, nil
}

// Wire types: https://protobuf.dev/programming-guides/encoding/.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

var errMessage = errors.New("read message: not a protocol buffer")

// field returns the last field of that number in a message, nil if there is
// none; it must be of bytes.
func field(message []byte, number uint64) (value []byte, err error) {
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errMessage
		}
		message = message[n:]
		size := uint64(0)
		switch key & 7 {
		case wireVarint:
			if _, n = binary.Uvarint(message); n <= 0 {
				return nil, errMessage
			}
			size = uint64(n)
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			if size, n = binary.Uvarint(message); n <= 0 {
				return nil, errMessage
			}
			message = message[n:]
		default:
			return nil, errMessage
		}
		if size > uint64(len(message)) {
			return nil, errMessage
		}
		if key>>3 == number {
			if key&7 != wireBytes {
				return nil, errMessage
			}
			value = message[:size]
		}
		message = message[size:]
	}
	return value, nil
}
