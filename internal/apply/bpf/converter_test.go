package bpf

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Types of the tests, as BTF has them.
var (
	u8  = &btf.Int{Name: "u8", Size: 1}
	u16 = &btf.Int{Name: "u16", Size: 2}
	u32 = &btf.Int{Name: "u32", Size: 4}
	u64 = &btf.Int{Name: "u64", Size: 8}
)

// structOf lays out members one after the other: a name, and its type.
func structOf(name string, members ...any) *btf.Struct {
	s := &btf.Struct{Name: name}
	for i := 0; i < len(members); i += 2 {
		typ := members[i+1].(btf.Type)
		size, err := btf.Sizeof(typ)
		if err != nil {
			panic(err)
		}
		s.Members = append(s.Members, btf.Member{Name: members[i].(string), Type: typ, Offset: btf.Bits(s.Size * 8)})
		s.Size += uint32(size)
	}
	return s
}

func array(n uint32, of btf.Type) *btf.Array { return &btf.Array{Index: u32, Type: of, Nelems: n} }

// What becomes of a value when its struct changes.
func TestConverter(t *testing.T) {
	typedef := &btf.Typedef{Name: "addr_t", Type: structOf("addr", "w", array(2, u32))}
	for _, c := range []struct {
		name      string
		from, to  *btf.Struct
		old, want []byte
	}{
		{"the same", structOf("s", "a", u32, "b", u16), structOf("s", "a", u32, "b", u16), []byte{1, 2, 3, 4, 5, 6}, []byte{1, 2, 3, 4, 5, 6}},
		{"a member is new", structOf("s", "a", u16), structOf("s", "new", u16, "a", u16), []byte{1, 2}, []byte{0, 0, 1, 2}},
		{"a member is gone", structOf("s", "gone", u32, "a", u16), structOf("s", "a", u16), []byte{9, 9, 9, 9, 1, 2}, []byte{1, 2}},
		{"members have changed places", structOf("s", "a", u8, "b", u16), structOf("s", "b", u16, "a", u8), []byte{1, 2, 3}, []byte{2, 3, 1}},
		{"a member is wider", structOf("s", "a", u16, "b", u16), structOf("s", "a", u64, "b", u16), []byte{1, 2, 3, 4}, []byte{1, 2, 0, 0, 0, 0, 0, 0, 3, 4}},
		{"a member is narrower", structOf("s", "a", u32, "b", u8), structOf("s", "a", u16, "b", u8), []byte{1, 2, 0, 0, 5}, []byte{1, 2, 5}},
		{"another name is another member", structOf("s", "a", u16), structOf("s", "b", u16), []byte{1, 2}, []byte{0, 0}},
		{"a struct within has changed", structOf("s", "in", structOf("in", "a", u8, "b", u8), "c", u8), structOf("s", "c", u8, "in", structOf("in", "new", u16, "b", u8, "a", u8)),
			[]byte{1, 2, 3}, []byte{3, 0, 0, 2, 1}},
		{"names count with the struct that they are in", structOf("s", "x", structOf("in", "a", u8), "y", structOf("in", "a", u8)), structOf("s", "y", structOf("in", "a", u8), "x", structOf("in", "a", u8)),
			[]byte{1, 2}, []byte{2, 1}},
		{"an array is longer", structOf("s", "a", array(2, u16), "b", u8), structOf("s", "b", u8, "a", array(3, u16)), []byte{1, 2, 3, 4, 5}, []byte{5, 1, 2, 3, 4, 0, 0}},
		{"an array is shorter", structOf("s", "a", array(3, u8), "b", u8), structOf("s", "a", array(2, u8), "b", u8), []byte{1, 2, 3, 4}, []byte{1, 2, 4}},
		{"a type of another name", structOf("s", "a", typedef, "b", u8), structOf("s", "b", u8, "a", typedef), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, []byte{9, 1, 2, 3, 4, 5, 6, 7, 8}},
	} {
		got := bytes.Repeat([]byte{0xee}, int(c.to.Size))
		converter(c.from, c.to)(c.old, got)
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: %v became %v, want %v", c.name, c.old, got, c.want)
		}
	}
}

// The types that maps are made with are those of C, so that another version finds
// what it has to convert.
func TestConverterOfConns(t *testing.T) {
	from, err := valueType(connTable(t), "conn")
	if err != nil {
		t.Fatal(err)
	}
	if int(from.Size) != binary.Size(kernelConn{}) {
		t.Errorf("%d bytes in the map, %d in Go", from.Size, binary.Size(kernelConn{}))
	}
	to := structOf("conn", "flags", u64, "added", u32, "seen", u64, "service", u32, "to", from.Members[0].Type)
	old := make([]byte, from.Size)
	_, err = binary.Encode(old, binary.LittleEndian, &kernelConn{Seen: 7, Service: 9, Flags: connNAT, To: kernelTuple{Sport: 80, Proto: 6}})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, to.Size)
	converter(from, to)(old, out)
	var got struct {
		Flags   uint64
		Added   uint32
		Seen    uint64
		Service uint32
		To      kernelTuple
	}
	if _, err := binary.Decode(out, binary.LittleEndian, &got); err != nil {
		t.Fatal(err)
	}
	if got.Flags != connNAT || got.Added != 0 || got.Seen != 7 || got.Service != 9 || got.To.Sport != 80 || got.To.Proto != 6 {
		t.Errorf("%+v", got)
	}
}
