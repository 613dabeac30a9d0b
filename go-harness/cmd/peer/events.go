package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/serfconf"
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
		if q, ok := event.(*serf.Query); ok {
			w.onQuery(q)
			continue
		}
		w.out.Send(serfconf.EventJSON(event))
	}
}

func (w *watcher) onQuery(q *serf.Query) {
	w.mu.Lock()
	w.next++
	handle, policy := w.next, w.policy
	w.held[handle] = q
	w.mu.Unlock()
	event := serfconf.EventJSON(q)
	event["handle"] = handle
	w.out.Send(event)
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

func decodePayload(text string) ([]byte, error) {
	payload, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("payload is not base64: %w", err)
	}
	return payload, nil
}
