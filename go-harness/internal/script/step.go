package script

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/mocknet"
)

// Step is one line. Kinds and the fields they use:
//
//	packet     hex, from         a datagram, all layers included
//	alive, suspect, dead, ping, indirect-ping, ack, nack, user
//	           fields or payload a datagram made by Go, without layers
//	push-pull  join, rows, payload, half
//	                             a peer dials and sends its state; the reply is in the answer
//	stream     hex               a peer dials and writes these bytes
//	advance    ms                virtual time passes
//	gossip, probe                one round now (probe: in the background)
//	reset-nodes                  what memberlist does when its probe list wraps
//	update-meta, set-state       payload
//	broadcast  payload           a user message to gossip
//	leave, join                  addrs
//
// A serf node also knows:
//
//	serf       type, fields      a serf message made by Go, in a user datagram
//	event      name, payload, coalesce
//	query      name, payload, filter_nodes, filter_tags, ack, relay_factor, ms
//	set-tags   tags
//	force-leave name, prune
//	join       also ignore_old
//	peer       from, hex          from now on this address answers each stream with these bytes
//	install-key, use-key, remove-key, list-keys
//	           name (base64 key), relay_factor
type Step struct {
	Step    string              `json:"step"`
	Hex     string              `json:"hex"`
	From    string              `json:"from"`
	Fields  json.RawMessage     `json:"fields"`
	Payload []byte              `json:"payload"`
	Join    bool                `json:"join"`
	Rows    []lib.PushNodeState `json:"rows"`
	Ms      int64               `json:"ms"`
	Addrs   []string            `json:"addrs"`

	// For a serf node only.
	Type        uint8             `json:"type"`
	Name        string            `json:"name"`
	Coalesce    bool              `json:"coalesce"`
	Tags        map[string]string `json:"tags"`
	Prune       bool              `json:"prune"`
	FilterNodes []string          `json:"filter_nodes"`
	FilterTags  map[string]string `json:"filter_tags"`
	Ack         bool              `json:"ack"`
	RelayFactor uint8             `json:"relay_factor"`
	IgnoreOld   bool              `json:"ignore_old"`
}

// Dial plays the dialing side: write all, then read until the node closes.
func Dial(wire *mocknet.Transport, raw []byte) (map[string]any, error) {
	conn := wire.Accept()
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(raw)
		written <- err
	}()
	reply := readAll(conn)
	_ = conn.Close()
	<-written
	return map[string]any{"reply": hex.EncodeToString(reply)}, nil
}

func readAll(conn net.Conn) []byte {
	var b bytes.Buffer
	_, _ = io.Copy(&b, conn)
	return b.Bytes()
}

// PushPull is a peer's whole half of an exchange.
func PushPull(s Step) []byte {
	header := &lib.PushPullHeader{Nodes: len(s.Rows), UserStateLen: len(s.Payload), Join: s.Join}
	out := lib.Encode(lib.PushPullMsg, header)
	for i := range s.Rows {
		out = append(out, lib.Encode(0, &s.Rows[i])[1:]...)
	}
	return append(out, s.Payload...)
}

// Message encodes the fields with Go's codec; bytes are base64 in JSON.
func Message(s Step) ([]byte, error) {
	targets := map[string]struct {
		kind uint8
		msg  any
	}{
		"alive":         {lib.AliveMsg, &lib.Alive{}},
		"suspect":       {lib.SuspectMsg, &lib.Suspect{}},
		"dead":          {lib.DeadMsg, &lib.Dead{}},
		"ping":          {lib.PingMsg, &lib.Ping{}},
		"indirect-ping": {lib.IndirectPingMsg, &lib.IndirectPingReq{}},
		"ack":           {lib.AckRespMsg, &lib.AckResp{}},
		"nack":          {lib.NackRespMsg, &lib.NackResp{}},
	}
	target, ok := targets[s.Step]
	if !ok {
		return nil, fmt.Errorf("unknown step %q", s.Step)
	}
	if err := lines.Decode(s.Fields, target.msg); err != nil {
		return nil, fmt.Errorf("fields of %s: %w", s.Step, err)
	}
	return lib.Encode(target.kind, target.msg), nil
}

// SerfMessage does the same for a serf message, whose type is a number.
func SerfMessage(s Step) ([]byte, error) {
	targets := map[uint8]any{
		lib.LeaveType: &lib.Leave{}, lib.JoinType: &lib.Join{}, lib.SerfPushPullType: &lib.SerfPushPull{},
		lib.UserEventType: &lib.UserEventMsg{}, lib.QueryType: &lib.Query{},
		lib.QueryResponseType: &lib.QueryResponse{},
	}
	target, ok := targets[s.Type]
	if !ok {
		return nil, fmt.Errorf("no serf message of type %d can be fed", s.Type)
	}
	if err := lines.Decode(s.Fields, target); err != nil {
		return nil, fmt.Errorf("fields of serf message %d: %w", s.Type, err)
	}
	return lib.SerfEncode(s.Type, target), nil
}

// Deliver hands a node the datagram of a step that describes one; other steps
// are left to the caller (handled is false).
func Deliver(m *memberlist.Memberlist, wire *mocknet.Transport, s Step) (extra map[string]any, handled bool, err error) {
	var raw []byte
	switch s.Step {
	case "packet":
		raw, err = hex.DecodeString(s.Hex)
	case "user":
		raw = append([]byte{lib.UserMsg}, s.Payload...)
	case "serf":
		if raw, err = SerfMessage(s); err == nil {
			raw = append([]byte{lib.UserMsg}, raw...)
		}
	case "alive", "suspect", "dead", "ping", "indirect-ping", "ack", "nack":
		raw, err = Message(s)
	case "push-pull":
		raw = PushPull(s)
		if extra, err = Dial(wire, raw); err == nil {
			extra["fed"] = hex.EncodeToString(raw)
		}
		return extra, true, err
	case "stream":
		if raw, err = hex.DecodeString(s.Hex); err == nil {
			extra, err = Dial(wire, raw)
		}
		return extra, true, err
	case "advance":
		time.Sleep(time.Duration(s.Ms) * time.Millisecond)
		return nil, true, nil
	case "observe":
		return nil, true, nil
	case "gossip":
		lib.Gossip(m)
		return nil, true, nil
	case "probe":
		go lib.ProbeOnce(m)
		return nil, true, nil
	case "reset-nodes":
		lib.ResetNodes(m)
		return nil, true, nil
	default:
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	from := s.From
	if from == "" {
		from = "10.0.0.9:7946"
	}
	addr, err := net.ResolveUDPAddr("udp", from)
	if err != nil {
		return nil, true, err
	}
	lib.IngestPacket(m, raw, addr, time.Now())
	return map[string]any{"fed": hex.EncodeToString(raw)}, true, nil
}
