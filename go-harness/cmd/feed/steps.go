package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"ruserf.dev/go-harness/internal/hooks"
	"ruserf.dev/go-harness/internal/lib"
)

// step is one line. Kinds and the fields they use:
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
type step struct {
	Step    string              `json:"step"`
	Hex     string              `json:"hex"`
	From    string              `json:"from"`
	Fields  json.RawMessage     `json:"fields"`
	Payload []byte              `json:"payload"`
	Join    bool                `json:"join"`
	Rows    []lib.PushNodeState `json:"rows"`
	Ms      int64               `json:"ms"`
	Addrs   []string            `json:"addrs"`
}

// leaveTimeout is how long Leave and UpdateNode wait for a broadcast to be sent.
const leaveTimeout = time.Second

func (n *node) apply(s step) (map[string]any, error) {
	switch s.Step {
	case "packet":
		raw, err := hex.DecodeString(s.Hex)
		if err != nil {
			return nil, err
		}
		return nil, n.datagram(s.From, raw)
	case "user":
		return nil, n.datagram(s.From, append([]byte{lib.UserMsg}, s.Payload...))
	case "push-pull":
		return n.dial(pushPull(s))
	case "stream":
		raw, err := hex.DecodeString(s.Hex)
		if err != nil {
			return nil, err
		}
		return n.dial(raw)
	case "advance":
		time.Sleep(time.Duration(s.Ms) * time.Millisecond)
		return nil, nil
	case "observe":
		return nil, nil
	case "gossip":
		lib.Gossip(n.list)
		return nil, nil
	case "probe":
		go lib.ProbeOnce(n.list)
		return nil, nil
	case "reset-nodes":
		lib.ResetNodes(n.list)
		return nil, nil
	case "update-meta":
		n.hooks.SetMeta(s.Payload)
		go n.later("update-meta", func() error { return n.list.UpdateNode(leaveTimeout) })
		return nil, nil
	case "set-state":
		n.hooks.SetState(s.Payload)
		return nil, nil
	case "broadcast":
		n.queue.QueueBroadcast(&hooks.Broadcast{Msg: s.Payload})
		return nil, nil
	case "leave":
		go n.later("leave", func() error { return n.list.Leave(leaveTimeout) })
		return nil, nil
	case "join":
		go n.later("join", func() error {
			_, err := n.list.Join(s.Addrs)
			return err
		})
		return nil, nil
	}
	msg, err := message(s)
	if err != nil {
		return nil, err
	}
	return map[string]any{"fed": hex.EncodeToString(msg)}, n.datagram(s.From, msg)
}

// later reports the end of a call that waits for something.
func (n *node) later(what string, call func() error) {
	result := map[string]any{"event": "done", "step": what}
	if err := call(); err != nil {
		result["error"] = err.Error()
	}
	n.event(result)
}

func (n *node) datagram(from string, raw []byte) error {
	addr, err := udp(from)
	if err != nil {
		return err
	}
	lib.IngestPacket(n.list, raw, addr, time.Now())
	return nil
}

// dial plays the dialing side: write all, then read until the node closes.
func (n *node) dial(raw []byte) (map[string]any, error) {
	conn := n.wire.Accept()
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

func pushPull(s step) []byte {
	header := &lib.PushPullHeader{Nodes: len(s.Rows), UserStateLen: len(s.Payload), Join: s.Join}
	out := lib.Encode(lib.PushPullMsg, header)
	for i := range s.Rows {
		out = append(out, lib.Encode(0, &s.Rows[i])[1:]...)
	}
	return append(out, s.Payload...)
}

// message encodes the fields with Go's codec; bytes are base64 in JSON.
func message(s step) ([]byte, error) {
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
	dec := json.NewDecoder(bytes.NewReader(s.Fields))
	dec.DisallowUnknownFields()
	if err := dec.Decode(target.msg); err != nil {
		return nil, fmt.Errorf("fields of %s: %w", s.Step, err)
	}
	return lib.Encode(target.kind, target.msg), nil
}
