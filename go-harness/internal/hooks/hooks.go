// Package hooks implements memberlist's delegates and reports each call as an event.
package hooks

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/peek"
)

// Options are the part of a node's configuration that the delegates need.
type Options struct {
	Meta string `json:"meta"`
	// State is the user part of a push/pull, base64.
	State string `json:"state"`
	// Alive and Merge are "" (no delegate), "allow" or "reject:<text>".
	Alive string `json:"alive"`
	Merge string `json:"merge"`
	// AckPayload, when set, is sent in each ack (base64).
	AckPayload *string `json:"ack_payload"`
}

// Hooks answers memberlist's calls.
type Hooks struct {
	send  func(map[string]any)
	queue *memberlist.TransmitLimitedQueue

	mu    sync.Mutex
	meta  []byte
	state []byte

	alive, merge string
	ackPayload   []byte
}

// New reports events through send; queue holds the user's own broadcasts.
func New(o *Options, send func(map[string]any), queue *memberlist.TransmitLimitedQueue) (*Hooks, error) {
	h := &Hooks{send: send, queue: queue, alive: o.Alive, merge: o.Merge}
	var err error
	if h.meta, err = base64.StdEncoding.DecodeString(o.Meta); err != nil {
		return nil, fmt.Errorf("meta: %w", err)
	}
	if h.state, err = base64.StdEncoding.DecodeString(o.State); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if o.AckPayload != nil {
		if h.ackPayload, err = base64.StdEncoding.DecodeString(*o.AckPayload); err != nil {
			return nil, fmt.Errorf("ack_payload: %w", err)
		}
	}
	return h, nil
}

// Install sets the delegates that the options ask for.
func (h *Hooks) Install(conf *memberlist.Config, o *Options) {
	conf.Delegate = h
	conf.Events = h
	conf.Conflict = h
	if o.AckPayload != nil {
		conf.Ping = h
	}
	if o.Alive != "" {
		conf.Alive = h
	}
	if o.Merge != "" {
		conf.Merge = h
	}
}

// SetMeta changes what NodeMeta answers.
func (h *Hooks) SetMeta(meta []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meta = meta
}

// SetState changes what LocalState answers.
func (h *Hooks) SetState(state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
}

// NodeMeta implements memberlist.Delegate.
func (h *Hooks) NodeMeta(int) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meta
}

// NotifyMsg implements memberlist.Delegate.
func (h *Hooks) NotifyMsg(msg []byte) {
	h.send(map[string]any{"event": "message", "payload": append([]byte(nil), msg...)})
}

// GetBroadcasts implements memberlist.Delegate.
func (h *Hooks) GetBroadcasts(overhead, limit int) [][]byte {
	return h.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (h *Hooks) LocalState(bool) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// MergeRemoteState implements memberlist.Delegate.
func (h *Hooks) MergeRemoteState(buf []byte, join bool) {
	h.send(map[string]any{
		"event": "remote-state", "payload": append([]byte(nil), buf...), "join": join,
	})
}

// NotifyJoin implements memberlist.EventDelegate.
func (h *Hooks) NotifyJoin(n *memberlist.Node) { h.node("join", n) }

// NotifyLeave implements memberlist.EventDelegate.
func (h *Hooks) NotifyLeave(n *memberlist.Node) { h.node("leave", n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (h *Hooks) NotifyUpdate(n *memberlist.Node) { h.node("update", n) }

func (h *Hooks) node(event string, n *memberlist.Node) {
	h.send(map[string]any{"event": event, "node": NodeJSON(n)})
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (h *Hooks) NotifyConflict(existing, other *memberlist.Node) {
	h.send(map[string]any{
		"event": "conflict", "node": NodeJSON(existing), "other": NodeJSON(other),
	})
}

// NotifyAlive implements memberlist.AliveDelegate.
func (h *Hooks) NotifyAlive(n *memberlist.Node) error {
	h.node("alive", n)
	return verdict(h.alive)
}

// NotifyMerge implements memberlist.MergeDelegate.
func (h *Hooks) NotifyMerge(nodes []*memberlist.Node) error {
	list := []any{}
	for _, n := range nodes {
		list = append(list, NodeJSON(n))
	}
	h.send(map[string]any{"event": "merge", "nodes": list})
	return verdict(h.merge)
}

// AckPayload implements memberlist.PingDelegate.
func (h *Hooks) AckPayload() []byte { return h.ackPayload }

// NotifyPingComplete implements memberlist.PingDelegate.
func (h *Hooks) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	h.send(map[string]any{
		"event": "ping-complete", "node": NodeJSON(n), "rtt_us": rtt.Microseconds(),
		"payload": append([]byte(nil), payload...),
	})
}

func verdict(policy string) error {
	if text, rejected := strings.CutPrefix(policy, "reject:"); rejected {
		return errors.New(text)
	}
	return nil
}

// NodeJSON describes a node.
func NodeJSON(n *memberlist.Node) json.RawMessage {
	raw, _ := json.Marshal(map[string]any{
		"name": n.Name, "addr": n.Addr.String(), "addr_len": len(n.Addr), "port": n.Port,
		"meta": n.Meta, "state": peek.NodeState(n),
		"vsn": []int{int(n.PMin), int(n.PMax), int(n.PCur), int(n.DMin), int(n.DMax), int(n.DCur)},
	})
	return raw
}

// Broadcast is a gossiped user message that nothing invalidates.
type Broadcast struct{ Msg []byte }

// Invalidates implements memberlist.Broadcast.
func (b *Broadcast) Invalidates(memberlist.Broadcast) bool { return false }

// Message implements memberlist.Broadcast.
func (b *Broadcast) Message() []byte { return b.Msg }

// Finished implements memberlist.Broadcast.
func (b *Broadcast) Finished() {}
