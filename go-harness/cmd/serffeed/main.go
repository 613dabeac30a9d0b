// Command serffeed drives one serf node in virtual time; see internal/script.
package main

import (
	"fmt"
	"sort"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/mocknet"
	"ruserf.dev/go-harness/internal/peek"
	"ruserf.dev/go-harness/internal/script"
	"ruserf.dev/go-harness/internal/serfconf"
)

type config struct {
	serfconf.Options
	// Background keeps memberlist's probing, gossip and push/pull running while
	// time advances; serf's own timers always run.
	Background bool `json:"background"`
	// Answer is sent in response to every query; without it none is answered.
	Answer *string `json:"answer"`
}

type node struct {
	serf    *serf.Serf
	network *mocknet.Network
	wire    *mocknet.Transport
	seen    *script.Seen
	answer  *string
}

func main() { script.Main(newNode) }

func newNode(line []byte) (script.Node, error) {
	var c config
	if err := lines.Decode(line, &c); err != nil {
		return nil, err
	}
	c.SetAddressIfNone("10.0.0.1", 7946)
	n := &node{network: mocknet.New(), seen: script.NewSeen(), answer: c.Answer}
	events := make(chan serf.Event, 4096)
	conf, err := c.Build(n.seen.Event, n.seen, events)
	if err != nil {
		return nil, err
	}
	n.wire = n.network.Attach(c.Bind, c.Port)
	conf.MemberlistConfig.Transport = n.wire
	if n.serf, err = serf.Create(conf); err != nil {
		return nil, err
	}
	if !c.Background {
		lib.Deschedule(n.serf.Memberlist())
	}
	go n.watch(events)
	return n, nil
}

func (n *node) watch(events <-chan serf.Event) {
	for event := range events {
		e := serfconf.EventJSON(event)
		if q, ok := event.(*serf.Query); ok && n.answer != nil {
			if err := q.Respond([]byte(*n.answer)); err != nil {
				e["error"] = err.Error()
			}
		}
		n.seen.Event(e)
	}
}

// Observe implements script.Node.
func (n *node) Observe() map[string]any {
	out := n.seen.Take(n.serf.Memberlist(), n.network)
	ltimes := serfconf.StatusLTimes(n.serf)
	members := []map[string]any{}
	for _, m := range n.serf.Members() {
		member := serfconf.MemberJSON(m)
		member["status_ltime"] = ltimes[m.Name]
		members = append(members, member)
	}
	sort.Slice(members, func(i, j int) bool {
		return members[i]["name"].(string) < members[j]["name"].(string)
	})
	out["members"], out["stats"] = members, n.serf.Stats()
	queues := map[string]any{}
	for name, field := range map[string]string{
		"intent": "broadcasts", "event": "eventBroadcasts", "query": "queryBroadcasts",
	} {
		queues[name] = peek.Queue(peek.Field(n.serf, field).Interface().(*memberlist.TransmitLimitedQueue))
	}
	out["queues"] = queues
	return out
}

// Apply implements script.Node.
func (n *node) Apply(s script.Step) (map[string]any, error) {
	if extra, handled, err := script.Deliver(n.serf.Memberlist(), n.wire, s); handled {
		return extra, err
	}
	later := func(call func() error) { go n.seen.Later(s.Step, call) }
	switch s.Step {
	case "event":
		return nil, n.serf.UserEvent(s.Name, s.Payload, s.Coalesce)
	case "query":
		return nil, n.query(s)
	case "set-tags":
		later(func() error { return n.serf.SetTags(s.Tags) })
	case "force-leave":
		later(func() error {
			if s.Prune {
				return n.serf.RemoveFailedNodePrune(s.Name)
			}
			return n.serf.RemoveFailedNode(s.Name)
		})
	case "leave":
		later(n.serf.Leave)
	case "join":
		later(func() error {
			_, err := n.serf.Join(s.Addrs, false)
			return err
		})
	default:
		return nil, fmt.Errorf("unknown step %q", s.Step)
	}
	return nil, nil
}

func (n *node) query(s script.Step) error {
	p := n.serf.DefaultQueryParams()
	p.FilterNodes, p.FilterTags, p.RequestAck = s.FilterNodes, s.FilterTags, s.Ack
	p.RelayFactor = s.RelayFactor
	if s.Ms > 0 {
		p.Timeout = time.Duration(s.Ms) * time.Millisecond
	}
	resp, err := n.serf.Query(s.Name, s.Payload, p)
	if err != nil {
		return err
	}
	if acks := resp.AckCh(); acks != nil {
		go func() {
			for from := range acks {
				n.seen.Event(map[string]any{"event": "query-ack", "from": from})
			}
		}()
	}
	go func() {
		for r := range resp.ResponseCh() {
			n.seen.Event(map[string]any{"event": "query-response", "from": r.From, "payload": r.Payload})
		}
		n.seen.Event(map[string]any{"event": "query-done", "name": s.Name})
	}()
	return nil
}
