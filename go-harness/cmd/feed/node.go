package main

import (
	"encoding/hex"
	"net"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/hooks"
	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/mlconf"
	"ruserf.dev/go-harness/internal/mocknet"
	"ruserf.dev/go-harness/internal/peek"
)

type (
	listOptions = mlconf.Options
	hookOptions = hooks.Options
)

type config struct {
	listOptions
	hookOptions
	// Background keeps probing, gossip and push/pull running while time advances.
	Background bool `json:"background"`
}

type node struct {
	list    *memberlist.Memberlist
	conf    *memberlist.Config
	hooks   *hooks.Hooks
	queue   *memberlist.TransmitLimitedQueue
	network *mocknet.Network
	wire    *mocknet.Transport
	start   time.Time

	mu     sync.Mutex
	events []map[string]any
	logs   []string
}

func newNode(line []byte) (*node, error) {
	var c config
	if err := lines.Decode(line, &c); err != nil {
		return nil, err
	}
	if c.Bind == "" {
		c.Bind = "10.0.0.1"
	}
	if c.Port == 0 {
		c.Port = 7946
	}
	n := &node{network: mocknet.New(), start: time.Now()}
	var err error
	if n.conf, err = c.listOptions.Build(n); err != nil {
		return nil, err
	}
	n.wire = n.network.Attach(c.Bind, c.Port)
	n.conf.Transport = n.wire
	n.queue = &memberlist.TransmitLimitedQueue{
		NumNodes: func() int { return n.list.NumMembers() }, RetransmitMult: n.conf.RetransmitMult,
	}
	if n.hooks, err = hooks.New(&c.hookOptions, n.event, n.queue); err != nil {
		return nil, err
	}
	n.hooks.Install(n.conf, &c.hookOptions)
	if n.list, err = memberlist.Create(n.conf); err != nil {
		return nil, err
	}
	if !c.Background {
		lib.Deschedule(n.list)
	}
	return n, nil
}

func (n *node) event(e map[string]any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// Write collects the log; times are left out, as they say nothing here.
func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := strings.TrimRight(string(p), "\n")
	if at := strings.Index(text, "["); at > 0 {
		text = text[at:]
	}
	n.logs = append(n.logs, text)
	return len(p), nil
}

// observe tells what can be seen, and forgets what it has told. The rows are
// sorted by name, because memberlist inserts at a random place.
func (n *node) observe(extra map[string]any) map[string]any {
	table := peek.Table(n.list)
	sort.Slice(table, func(i, j int) bool { return table[i].Name < table[j].Name })
	sent := []any{}
	for _, c := range n.network.Take() {
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
	out := map[string]any{
		"now_ms": time.Since(n.start).Milliseconds(), "table": table, "events": events,
		"queue": peek.Broadcasts(n.list), "sent": sent, "logs": logs,
		"incarnation": peek.Incarnation(n.list), "health": n.list.GetHealthScore(),
	}
	for key, value := range extra {
		out[key] = value
	}
	return out
}

func udp(addr string) (net.Addr, error) {
	if addr == "" {
		addr = "10.0.0.9:7946"
	}
	return net.ResolveUDPAddr("udp", addr)
}
