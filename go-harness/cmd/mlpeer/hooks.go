package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/lines"
)

// hooks implements memberlist's delegates and reports each call as an event.
type hooks struct {
	out   *lines.Out
	queue *memberlist.TransmitLimitedQueue

	mu    sync.Mutex
	meta  []byte
	state []byte

	alive, merge string
	ackPayload   []byte
}

func newHooks(c *config, out *lines.Out, queue *memberlist.TransmitLimitedQueue) (*hooks, error) {
	h := &hooks{out: out, queue: queue, alive: c.Alive, merge: c.Merge}
	var err error
	if h.meta, err = base64.StdEncoding.DecodeString(c.Meta); err != nil {
		return nil, fmt.Errorf("meta: %w", err)
	}
	if h.state, err = base64.StdEncoding.DecodeString(c.State); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if c.AckPayload != nil {
		if h.ackPayload, err = base64.StdEncoding.DecodeString(*c.AckPayload); err != nil {
			return nil, fmt.Errorf("ack_payload: %w", err)
		}
	}
	return h, nil
}

func (h *hooks) install(conf *memberlist.Config, c *config) {
	conf.Delegate = h
	conf.Events = h
	conf.Conflict = h
	if c.AckPayload != nil {
		conf.Ping = h
	}
	if c.Alive != "" {
		conf.Alive = h
	}
	if c.Merge != "" {
		conf.Merge = h
	}
}

func (h *hooks) setMeta(meta []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meta = meta
}

func (h *hooks) setState(state []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = state
}

// NodeMeta implements memberlist.Delegate.
func (h *hooks) NodeMeta(int) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meta
}

// NotifyMsg implements memberlist.Delegate.
func (h *hooks) NotifyMsg(msg []byte) {
	h.out.Send(map[string]any{"event": "message", "payload": append([]byte(nil), msg...)})
}

// GetBroadcasts implements memberlist.Delegate.
func (h *hooks) GetBroadcasts(overhead, limit int) [][]byte {
	return h.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate.
func (h *hooks) LocalState(bool) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// MergeRemoteState implements memberlist.Delegate.
func (h *hooks) MergeRemoteState(buf []byte, join bool) {
	h.out.Send(map[string]any{
		"event": "remote-state", "payload": append([]byte(nil), buf...), "join": join,
	})
}

// NotifyJoin implements memberlist.EventDelegate.
func (h *hooks) NotifyJoin(n *memberlist.Node) { h.node("join", n) }

// NotifyLeave implements memberlist.EventDelegate.
func (h *hooks) NotifyLeave(n *memberlist.Node) { h.node("leave", n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (h *hooks) NotifyUpdate(n *memberlist.Node) { h.node("update", n) }

func (h *hooks) node(event string, n *memberlist.Node) {
	h.out.Send(map[string]any{"event": event, "node": nodeJSON(n)})
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (h *hooks) NotifyConflict(existing, other *memberlist.Node) {
	h.out.Send(map[string]any{
		"event": "conflict", "node": nodeJSON(existing), "other": nodeJSON(other),
	})
}

// NotifyAlive implements memberlist.AliveDelegate.
func (h *hooks) NotifyAlive(n *memberlist.Node) error {
	h.node("alive", n)
	return verdict(h.alive)
}

// NotifyMerge implements memberlist.MergeDelegate.
func (h *hooks) NotifyMerge(nodes []*memberlist.Node) error {
	list := []any{}
	for _, n := range nodes {
		list = append(list, nodeJSON(n))
	}
	h.out.Send(map[string]any{"event": "merge", "nodes": list})
	return verdict(h.merge)
}

// AckPayload implements memberlist.PingDelegate.
func (h *hooks) AckPayload() []byte { return h.ackPayload }

// NotifyPingComplete implements memberlist.PingDelegate.
func (h *hooks) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	h.out.Send(map[string]any{
		"event": "ping-complete", "node": nodeJSON(n), "rtt_us": rtt.Microseconds(),
		"payload": append([]byte(nil), payload...),
	})
}

func verdict(policy string) error {
	if text, rejected := strings.CutPrefix(policy, "reject:"); rejected {
		return errors.New(text)
	}
	return nil
}

// userBroadcast is a gossiped user message that nothing invalidates.
type userBroadcast struct{ msg []byte }

func (b *userBroadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b *userBroadcast) Message() []byte                       { return b.msg }
func (b *userBroadcast) Finished()                             {}
