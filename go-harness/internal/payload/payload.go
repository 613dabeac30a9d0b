// Package payload has a typed payload as a Go program would send it.
package payload

import (
	"bytes"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// Deploy has a field of each kind.
type Deploy struct {
	Version string            `codec:"version" json:"version"`
	Hosts   []string          `codec:"hosts" json:"hosts"`
	Canary  *int              `codec:"canary" json:"canary"`
	Labels  map[string]string `codec:"labels" json:"labels"`
	Build   []byte            `codec:"build" json:"build"`
	Bytes   int64             `codec:"bytes" json:"bytes"`
	Drift   int               `codec:"drift" json:"drift"`
	Share   float64           `codec:"share" json:"share"`
	Force   bool              `codec:"force" json:"force"`
}

// Samples are small, large and empty.
func Samples() []Deploy {
	canary, long := 200, make([]byte, 300)
	for i := range long {
		long[i] = byte(i)
	}
	return []Deploy{
		{Hosts: []string{}, Labels: map[string]string{}, Build: []byte{}},
		{
			Version: "v2", Hosts: []string{"a", "b"}, Canary: &canary,
			Labels: map[string]string{"zone": "north"}, Build: []byte("plain"),
			Bytes: 128, Drift: -1, Share: 0.25, Force: true,
		},
		{
			Version: "a version of more than thirty-one bytes", Hosts: make([]string, 20),
			Labels: map[string]string{"": ""}, Build: long, Bytes: 1 << 40, Drift: -70000, Share: -1e300,
		},
	}
}

// Encode writes it in the old spec of MessagePack, or in the new one with its
// types for bytes and short strings (writeExt).
func Encode(d Deploy, writeExt bool) ([]byte, error) {
	var b bytes.Buffer
	h := &codec.MsgpackHandle{WriteExt: writeExt}
	h.Canonical = true
	err := codec.NewEncoder(&b, h).Encode(d)
	return b.Bytes(), err
}

// Decode reads what others sent.
func Decode(b []byte) (Deploy, error) {
	var d Deploy
	err := codec.NewDecoderBytes(b, &codec.MsgpackHandle{}).Decode(&d)
	return d, err
}
