package script

import (
	"encoding/hex"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/mocknet"
	"ruserf.dev/go-harness/internal/peek"
)

// Seen collects a node's events and log between two answers.
type Seen struct {
	mu     sync.Mutex
	start  time.Time
	events []map[string]any
	logs   []string
}

// NewSeen starts the clock that answers show.
func NewSeen() *Seen { return &Seen{start: time.Now()} }

// Event adds an event.
func (n *Seen) Event(e map[string]any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// Later reports the end of a call that waits for something.
func (n *Seen) Later(what string, call func() error) {
	result := map[string]any{"event": "done", "step": what}
	if err := call(); err != nil {
		result["error"] = err.Error()
	}
	n.Event(result)
}

// Write collects the log; times are left out, as they say nothing here.
func (n *Seen) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := strings.TrimRight(string(p), "\n")
	if at := strings.Index(text, "["); at > 0 {
		text = text[at:]
	}
	n.logs = append(n.logs, text)
	return len(p), nil
}

// Take describes the memberlist and what was collected. The rows are sorted by
// name, because memberlist inserts at a random place.
func (n *Seen) Take(m *memberlist.Memberlist, network *mocknet.Network) map[string]any {
	table := peek.Table(m)
	sort.Slice(table, func(i, j int) bool { return table[i].Name < table[j].Name })
	sent := []any{}
	for _, c := range network.Take() {
		sent = append(sent, map[string]any{"kind": c.Kind, "to": c.To, "hex": hex.EncodeToString(c.Bytes)})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	events, logs := n.events, n.logs
	n.events, n.logs = nil, nil
	if events == nil {
		events = []map[string]any{}
	}
	if logs == nil {
		logs = []string{}
	}
	return map[string]any{
		"now_ms": time.Since(n.start).Milliseconds(), "table": table, "events": events,
		"queue": peek.Broadcasts(m), "sent": sent, "logs": logs,
		"incarnation": peek.Incarnation(m), "health": m.GetHealthScore(),
	}
}
