// Command serffeed drives one serf node in virtual time; see internal/script.
package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"sort"
	"strconv"
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
	// AnswerMs is how long it thinks before it answers.
	AnswerMs int64 `json:"answer_ms"`
}

type node struct {
	serf    *serf.Serf
	network *mocknet.Network
	wire    *mocknet.Transport
	seen    *script.Seen
	answer  *string
	think   time.Duration
}

func main() { script.Main(newNode) }

func newNode(line []byte) (script.Node, error) {
	var c config
	if err := lines.Decode(line, &c); err != nil {
		return nil, err
	}
	c.SetAddressIfNone("10.0.0.1", 7946)
	n := &node{network: mocknet.New(), seen: script.NewSeen(), answer: c.Answer}
	n.think = time.Duration(c.AnswerMs) * time.Millisecond
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
		n.seen.Event(e)
		if q, ok := event.(*serf.Query); ok && n.answer != nil {
			go n.respond(q)
		}
	}
}

func (n *node) respond(q *serf.Query) {
	time.Sleep(n.think)
	e := map[string]any{"event": "answered", "name": q.Name}
	if err := q.Respond([]byte(*n.answer)); err != nil {
		e["error"] = err.Error()
	}
	n.seen.Event(e)
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
	out["state"] = n.serf.State().String()
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
			_, err := n.serf.Join(s.Addrs, s.IgnoreOld)
			return err
		})
	case "peer":
		return nil, n.peer(s)
	case "install-key", "use-key", "remove-key", "list-keys":
		go n.keys(s)
	default:
		return nil, fmt.Errorf("unknown step %q", s.Step)
	}
	return nil, nil
}

// peer makes an address that answers every stream with the same bytes.
func (n *node) peer(s script.Step) error {
	reply, err := hex.DecodeString(s.Hex)
	if err != nil {
		return err
	}
	ip, port, err := net.SplitHostPort(s.From)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	streams := n.network.Attach(ip, number).StreamCh()
	go func() {
		for conn := range streams {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write(reply)
		}
	}()
	return nil
}

func (n *node) keys(s script.Step) {
	opts := &serf.KeyRequestOptions{RelayFactor: s.RelayFactor}
	keys := n.serf.KeyManager()
	var r *serf.KeyResponse
	var err error
	switch s.Step {
	case "install-key":
		r, err = keys.InstallKeyWithOptions(s.Name, opts)
	case "use-key":
		r, err = keys.UseKeyWithOptions(s.Name, opts)
	case "remove-key":
		r, err = keys.RemoveKeyWithOptions(s.Name, opts)
	default:
		r, err = keys.ListKeysWithOptions(opts)
	}
	e := map[string]any{"event": "keys", "step": s.Step}
	if r != nil {
		e["messages"], e["keys"], e["primary_keys"] = r.Messages, r.Keys, r.PrimaryKeys
		e["num_nodes"], e["num_resp"], e["num_err"] = r.NumNodes, r.NumResp, r.NumErr
	}
	if err != nil {
		e["error"] = err.Error()
	}
	n.seen.Event(e)
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
