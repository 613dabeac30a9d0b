package main

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/hooks"
	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/mlconf"
	"ruserf.dev/go-harness/internal/mocknet"
	"ruserf.dev/go-harness/internal/script"
)

// waitMax is how long Leave and UpdateNode wait for a broadcast to be sent.
const waitMax = time.Second

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
	hooks   *hooks.Hooks
	queue   *memberlist.TransmitLimitedQueue
	network *mocknet.Network
	wire    *mocknet.Transport
	seen    *script.Seen
}

func newNode(line []byte) (script.Node, error) {
	var c config
	if err := lines.Decode(line, &c); err != nil {
		return nil, err
	}
	c.SetAddressIfNone("10.0.0.1", 7946)
	n := &node{network: mocknet.New(), seen: script.NewSeen()}
	conf, err := c.listOptions.Build(n.seen)
	if err != nil {
		return nil, err
	}
	n.wire = n.network.Attach(c.Bind, c.Port)
	conf.Transport = n.wire
	n.queue = &memberlist.TransmitLimitedQueue{
		NumNodes: func() int { return n.list.NumMembers() }, RetransmitMult: conf.RetransmitMult,
	}
	if n.hooks, err = hooks.New(&c.hookOptions, n.seen.Event, n.queue); err != nil {
		return nil, err
	}
	n.hooks.Install(conf, &c.hookOptions)
	if n.list, err = memberlist.Create(conf); err != nil {
		return nil, err
	}
	if !c.Background {
		lib.Deschedule(n.list)
	}
	return n, nil
}

// Observe implements script.Node.
func (n *node) Observe() map[string]any { return n.seen.Take(n.list, n.network) }

// Apply implements script.Node.
func (n *node) Apply(s script.Step) (map[string]any, error) {
	if extra, handled, err := script.Deliver(n.list, n.wire, s); handled {
		return extra, err
	}
	switch s.Step {
	case "update-meta":
		n.hooks.SetMeta(s.Payload)
		go n.seen.Later(s.Step, func() error { return n.list.UpdateNode(waitMax) })
	case "set-state":
		n.hooks.SetState(s.Payload)
	case "broadcast":
		n.queue.QueueBroadcast(&hooks.Broadcast{Msg: s.Payload})
	case "leave":
		go n.seen.Later(s.Step, func() error { return n.list.Leave(waitMax) })
	case "join":
		go n.seen.Later(s.Step, func() error {
			_, err := n.list.Join(s.Addrs)
			return err
		})
	default:
		return nil, fmt.Errorf("unknown step %q", s.Step)
	}
	return nil, nil
}
