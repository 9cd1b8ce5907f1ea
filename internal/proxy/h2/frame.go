package h2

import "encoding/binary"

// The types of frames (RFC 9113, section 6).
const (
	frameData uint8 = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindow
	frameContinuation
)

// Flags of frames. flagAck is for SETTINGS and PING.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113, section 6.5.2; RFC 8441, section 3).
const (
	settingTableSize   = 1
	settingPush        = 2
	settingStreams     = 3
	settingWindow      = 4
	settingFrameSize   = 5
	settingHeaderList  = 6
	settingConnectProt = 8
)

const (
	headerLen     = 9
	maxFrame      = 16384 // what we take, and what every peer takes
	defaultWindow = 65535
	maxWindow     = 1<<31 - 1
	// Preface is what a client begins with.
	Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// Code is an error code of HTTP/2 (RFC 9113, section 7).
type Code uint32

// The codes that we send or act upon.
const (
	NoError           Code = 0
	ProtocolError     Code = 1
	InternalError     Code = 2
	FlowControlError  Code = 3
	StreamClosed      Code = 5
	FrameSizeError    Code = 6
	RefusedStream     Code = 7
	Cancel            Code = 8
	CompressionError  Code = 9
	EnhanceYourCalm   Code = 11
	HTTP11Required    Code = 13
	firstUnknownError Code = 14
)

func (c Code) String() string {
	if c < firstUnknownError {
		return [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
			"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}[c]
	}
	return "unknown error code"
}

// ConnError ends a connection.
type ConnError struct {
	Code Code
	Text string
}

func (e *ConnError) Error() string {
	return "HTTP/2 connection: " + e.Text + " (" + e.Code.String() + ")"
}

// StreamError ends a stream. Peer says that the other side has said so.
type StreamError struct {
	id   uint32
	Code Code
	Peer bool
}

func (e *StreamError) Error() string {
	if e.Peer {
		return "HTTP/2 stream reset by the peer: " + e.Code.String()
	}
	return "HTTP/2 stream: " + e.Code.String()
}

func broken(code Code, text string) error { return &ConnError{code, text} }

// frame is one frame as it was read; payload is valid until the next is.
type frame struct {
	kind, flags uint8
	id          uint32
	payload     []byte
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// unpad takes the padding off the payload of DATA and HEADERS.
func (f *frame) unpad() ([]byte, error) {
	p := f.payload
	if !f.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, broken(FrameSizeError, "frame without its padding")
	}
	pad := int(p[0])
	if p = p[1:]; pad > len(p) {
		return nil, broken(ProtocolError, "padding longer than the frame")
	}
	return p[:len(p)-pad], nil
}

// appendHeader adds the head of a frame.
func appendHeader(b []byte, length int, kind, flags uint8, id uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// appendNumber adds a frame whose payload is one number.
func appendNumber(b []byte, kind uint8, id, number uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, 4, kind, 0, id), number)
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}
