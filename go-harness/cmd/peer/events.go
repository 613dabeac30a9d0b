package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lines"
)

// watcher turns serf's events into lines and answers queries by policy.
type watcher struct {
	out *lines.Out

	mu     sync.Mutex
	policy string
	held   map[int64]*serf.Query
	next   int64
}

func newWatcher(out *lines.Out, policy string) *watcher {
	return &watcher{out: out, policy: policy, held: map[int64]*serf.Query{}}
}

func (w *watcher) run(events <-chan serf.Event) {
	for event := range events {
		switch e := event.(type) {
		case serf.MemberEvent:
			members := make([]any, 0, len(e.Members))
			for _, m := range e.Members {
				members = append(members, memberJSON(m))
			}
			w.out.Send(map[string]any{"event": e.Type.String(), "members": members})
		case serf.UserEvent:
			w.out.Send(map[string]any{
				"event": "user", "ltime": uint64(e.LTime), "name": e.Name,
				"payload": e.Payload, "coalesce": e.Coalesce,
			})
		case *serf.Query:
			w.onQuery(e)
		default:
			w.out.Send(map[string]any{"event": "unknown", "text": event.String()})
		}
	}
}

func (w *watcher) onQuery(q *serf.Query) {
	w.mu.Lock()
	w.next++
	handle, policy := w.next, w.policy
	w.held[handle] = q
	w.mu.Unlock()
	w.out.Send(map[string]any{
		"event": "query", "handle": handle, "ltime": uint64(q.LTime), "name": q.Name,
		"payload": q.Payload, "source": q.SourceNode(),
		"remaining_ms": time.Until(q.Deadline()).Milliseconds(),
	})
	if answer, ok := answerFor(policy, q.Payload); ok {
		if err := q.Respond(answer); err != nil {
			w.out.Send(map[string]any{"event": "respond-error", "handle": handle, "error": err.Error()})
		}
	}
}

// answerFor applies a respond policy: none (also ""), echo, uppercase,
// fixed:<text>, size:<bytes>.
func answerFor(policy string, payload []byte) ([]byte, bool) {
	switch {
	case policy == "echo":
		return payload, true
	case policy == "uppercase":
		return bytes.ToUpper(payload), true
	case strings.HasPrefix(policy, "fixed:"):
		return []byte(strings.TrimPrefix(policy, "fixed:")), true
	case strings.HasPrefix(policy, "size:"):
		var n int
		if _, err := fmt.Sscanf(policy, "size:%d", &n); err == nil && n >= 0 && n < 1<<20 {
			return bytes.Repeat([]byte{'r'}, n), true
		}
	}
	return nil, false
}

func (w *watcher) setPolicy(policy string) error {
	if _, ok := answerFor(policy, nil); !ok && policy != "none" && policy != "" {
		return fmt.Errorf("unknown query handler %q", policy)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = policy
	return nil
}

func (w *watcher) respond(handle int64, payload []byte) error {
	w.mu.Lock()
	q := w.held[handle]
	w.mu.Unlock()
	if q == nil {
		return fmt.Errorf("no query with handle %d", handle)
	}
	return q.Respond(payload)
}

func memberJSON(m serf.Member) map[string]any {
	tags := m.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"name": m.Name, "addr": m.Addr.String(), "addr_len": len(m.Addr), "port": m.Port,
		"tags": tags, "status": m.Status.String(),
		"protocol_min": m.ProtocolMin, "protocol_max": m.ProtocolMax, "protocol_cur": m.ProtocolCur,
		"delegate_min": m.DelegateMin, "delegate_max": m.DelegateMax, "delegate_cur": m.DelegateCur,
	}
}

func decodePayload(text string) ([]byte, error) {
	payload, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("payload is not base64: %w", err)
	}
	return payload, nil
}
