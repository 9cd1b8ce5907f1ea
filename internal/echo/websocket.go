package echo

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// wsGUID is the constant of RFC 6455, section 1.3.
const wsGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Opcodes of RFC 6455, section 5.2.
const (
	wsClose = 0x8
	wsPing  = 0x9
	wsPong  = 0xA
)

const (
	wsMaxFrame = 1 << 20
	wsIdle     = 10 * time.Minute
)

// websocket sends every frame back as it came: text, binary and their
// continuations alike; a ping gets its pong, a close its close.
func (h *Handler) websocket(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this path speaks WebSocket only", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2: RFC 8441 is not offered
		http.Error(w, "WebSocket needs HTTP/1.1", http.StatusNotImplemented)
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(key + wsGUID))
	io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n"+PodHeader+": "+h.id.Pod+"\r\n\r\n")
	for rw.Flush() == nil {
		_ = conn.SetDeadline(time.Now().Add(wsIdle))
		first, payload, err := readFrame(rw.Reader)
		if err != nil {
			return
		}
		switch first & 0x0F {
		case wsPong:
			continue
		case wsPing:
			first = first&0xF0 | wsPong
		case wsClose:
			writeFrame(rw.Writer, first, payload)
			rw.Flush()
			return
		}
		writeFrame(rw.Writer, first, payload)
	}
}

// readFrame returns the first byte of a client's frame (FIN and opcode) and
// its unmasked payload.
func readFrame(r *bufio.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[1]&0x80 == 0 {
		return 0, nil, errors.New("read frame: a client's frame must be masked (RFC 6455, section 5.1)")
	}
	length := uint64(head[1] & 0x7F)
	var ext [8]byte
	switch length {
	case 126:
		_, err = io.ReadFull(r, ext[:2])
		length = uint64(binary.BigEndian.Uint16(ext[:2]))
	case 127:
		_, err = io.ReadFull(r, ext[:8])
		length = binary.BigEndian.Uint64(ext[:8])
	}
	if err != nil {
		return 0, nil, err
	}
	if length > wsMaxFrame {
		return 0, nil, errors.New("read frame: longer than 1 MiB")
	}
	var mask [4]byte
	if _, err := io.ReadFull(r, mask[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0], payload, nil
}

// writeFrame writes a server's frame, which is never masked. Errors surface
// in the caller's Flush.
func writeFrame(w *bufio.Writer, first byte, payload []byte) {
	w.WriteByte(first)
	switch n := len(payload); {
	case n < 126:
		w.WriteByte(byte(n))
	case n < 1<<16:
		w.Write(binary.BigEndian.AppendUint16([]byte{126}, uint16(n)))
	default:
		w.Write(binary.BigEndian.AppendUint64([]byte{127}, uint64(n)))
	}
	w.Write(payload)
}
