// Package unwrap opens captured bytes layer by layer with memberlist's own
// code and describes the messages inside.
package unwrap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/lib"
)

// Options say what the receiver knows.
type Options struct {
	Label string
	Keys  [][]byte
}

// Result is what was found, outermost layer first.
type Result struct {
	Layers   []string         `json:"layers"`
	Messages []map[string]any `json:"messages"`
	Error    string           `json:"error,omitempty"`
}

// All says whether Go could read everything and re-encodes it to the same bytes.
func (r *Result) All() bool {
	if r.Error != "" || len(r.Messages) == 0 {
		return false
	}
	for _, m := range r.Messages {
		if !clean(m) {
			return false
		}
	}
	return true
}

func clean(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if v["error"] != nil || v["trailing"] != nil {
			return false
		}
		if how, ok := v["reencode"].(string); ok && how != "same" && how != "same-but-map-order" {
			return false
		}
		for key, inner := range v {
			if key != "fields" && !clean(inner) {
				return false
			}
		}
	case []any:
		for _, inner := range v {
			if !clean(inner) {
				return false
			}
		}
	case []map[string]any:
		for _, inner := range v {
			if !clean(inner) {
				return false
			}
		}
	}
	return true
}

// Packet opens a datagram.
func Packet(buf []byte, o Options) *Result {
	r := &Result{Layers: []string{}}
	r.catch(func() error {
		buf, label, err := memberlist.RemoveLabelHeaderFromPacket(bytes.Clone(buf))
		if err != nil {
			return err
		}
		if err := r.label(label, o.Label); err != nil {
			return err
		}
		if len(o.Keys) > 0 {
			r.layer("encrypt:%d", buf[0])
			if buf, err = lib.DecryptPayload(o.Keys, buf, []byte(o.Label)); err != nil {
				return err
			}
		}
		if len(buf) >= 5 && buf[0] == lib.HasCrcMsg {
			r.layer("crc")
			if crc32.ChecksumIEEE(buf[5:]) != binary.BigEndian.Uint32(buf[1:5]) {
				return errors.New("wrong checksum")
			}
			buf = buf[5:]
		}
		r.message(buf, 0)
		return nil
	})
	return r
}

// Stream opens what one side wrote on a connection. Only a dialer writes the
// label header; a reply has none, but its encryption covers the label.
func Stream(buf []byte, o Options, reply bool) *Result {
	r := &Result{Layers: []string{}}
	r.catch(func() error {
		if !reply {
			var label string
			var err error
			if buf, label, err = stripStreamLabel(buf); err != nil {
				return err
			}
			if err := r.label(label, o.Label); err != nil {
				return err
			}
		}
		buf, err := r.openStream(buf, o)
		if err != nil {
			return err
		}
		r.streamMessage(buf)
		return nil
	})
	return r
}

// stripStreamLabel lets memberlist read the header from a pipe.
func stripStreamLabel(buf []byte) ([]byte, string, error) {
	near, far := net.Pipe()
	go func() {
		_, _ = far.Write(buf)
		_ = far.Close()
	}()
	defer func() { _ = near.Close() }()
	_ = near.SetDeadline(time.Now().Add(5 * time.Second))
	conn, label, err := memberlist.RemoveLabelHeaderFromStream(near)
	if err != nil {
		return nil, "", err
	}
	rest, err := io.ReadAll(conn)
	return rest, label, err
}

func (r *Result) openStream(buf []byte, o Options) ([]byte, error) {
	if len(buf) == 0 {
		return nil, errors.New("empty stream")
	}
	if buf[0] == lib.EncryptMsg {
		if len(buf) < 5 {
			return nil, errors.New("truncated encryption frame")
		}
		n := binary.BigEndian.Uint32(buf[1:5])
		if uint64(n) != uint64(len(buf)-5) {
			return nil, fmt.Errorf("frame says %d bytes, stream has %d", n, len(buf)-5)
		}
		r.layer("encrypt:%d", buf[5])
		aad := append(bytes.Clone(buf[:5]), o.Label...)
		plain, err := lib.DecryptPayload(o.Keys, bytes.Clone(buf[5:]), aad)
		if err != nil {
			return nil, err
		}
		buf = plain
	} else if len(o.Keys) > 0 {
		return nil, errors.New("encryption is configured but the stream is not encrypted")
	}
	if len(buf) > 0 && buf[0] == lib.CompressMsg {
		r.layer("compress")
		return lib.DecompressPayload(buf[1:])
	}
	return buf, nil
}

func (r *Result) label(got, want string) error {
	if got != "" {
		r.layer("label:%s", got)
	}
	if got != want {
		return fmt.Errorf("label %q where %q is wanted", got, want)
	}
	return nil
}

func (r *Result) layer(format string, args ...any) {
	r.Layers = append(r.Layers, fmt.Sprintf(format, args...))
}

func (r *Result) catch(f func() error) {
	defer func() {
		if p := recover(); p != nil {
			r.Error = fmt.Sprintf("panic: %v", p)
		}
	}()
	if err := f(); err != nil {
		r.Error = err.Error()
	}
}
