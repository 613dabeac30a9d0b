// Command mlpeer is a bare memberlist node driven by JSON lines; see README.md.
package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/counters"
	"ruserf.dev/go-harness/internal/hooks"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/mlconf"
	"ruserf.dev/go-harness/internal/peek"
)

type (
	listOptions = mlconf.Options
	hookOptions = hooks.Options
)

type config struct {
	listOptions
	hookOptions
}

type command struct {
	ID        int64    `json:"id"`
	Cmd       string   `json:"cmd"`
	Addrs     []string `json:"addrs"`
	Name      string   `json:"name"`
	Addr      string   `json:"addr"`
	Payload   string   `json:"payload"`
	TimeoutMs int64    `json:"timeout_ms"`
	Key       string   `json:"key"`
}

type peer struct {
	list     *memberlist.Memberlist
	conf     *memberlist.Config
	hooks    *hooks.Hooks
	queue    *memberlist.TransmitLimitedQueue
	counters *counters.Counters
	out      *lines.Out
}

func main() { lines.Main(run) }

func run(in *lines.In, out *lines.Out) error {
	var c config
	if err := in.First(&c); err != nil {
		return err
	}
	var err error
	p := &peer{out: out}
	if p.counters, err = counters.Install(); err != nil {
		return err
	}
	if p.conf, err = c.listOptions.Build(out.LogWriter()); err != nil {
		return err
	}
	p.queue = &memberlist.TransmitLimitedQueue{
		NumNodes:       func() int { return p.list.NumMembers() },
		RetransmitMult: p.conf.RetransmitMult,
	}
	send := func(event map[string]any) { out.Send(event) }
	if p.hooks, err = hooks.New(&c.hookOptions, send, p.queue); err != nil {
		return err
	}
	p.hooks.Install(p.conf, &c.hookOptions)
	if p.list, err = memberlist.Create(p.conf); err != nil {
		return err
	}
	defer func() { _ = p.list.Shutdown() }()
	out.Send(map[string]any{"ready": hooks.NodeJSON(p.list.LocalNode()), "table": peek.Table(p.list)})
	return p.serve(in)
}

// serve ends at quit or when stdin closes, so a peer never outlives its parent.
func (p *peer) serve(in *lines.In) error {
	for {
		line, err := in.Next()
		if err != nil {
			return nil
		}
		var c command
		if err := lines.Decode(line, &c); err != nil {
			p.out.Reply(c.ID, nil, fmt.Errorf("command line: %w", err))
			continue
		}
		run := func() {
			result, err := p.run(c)
			p.out.Reply(c.ID, result, err)
		}
		switch c.Cmd {
		case "quit":
			p.out.Reply(c.ID, nil, nil)
			return nil
		case "join", "leave", "ping", "update_meta":
			go run()
		default:
			run()
		}
	}
}

func (p *peer) run(c command) (any, error) {
	timeout := time.Duration(c.TimeoutMs) * time.Millisecond
	if c.TimeoutMs == 0 {
		timeout = 5 * time.Second
	}
	payload, err := base64.StdEncoding.DecodeString(c.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload is not base64: %w", err)
	}
	switch c.Cmd {
	case "join":
		n, err := p.list.Join(c.Addrs)
		return map[string]any{"joined": n}, err
	case "leave":
		return nil, p.list.Leave(timeout)
	case "shutdown":
		return nil, p.list.Shutdown()
	case "members":
		nodes := []any{}
		for _, n := range p.list.Members() {
			nodes = append(nodes, hooks.NodeJSON(n))
		}
		return nodes, nil
	case "local":
		return hooks.NodeJSON(p.list.LocalNode()), nil
	case "table":
		return peek.Table(p.list), nil
	case "queue":
		return peek.Broadcasts(p.list), nil
	case "incarnation":
		return peek.Incarnation(p.list), nil
	case "health":
		return p.list.GetHealthScore(), nil
	case "metrics":
		return p.counters.Snapshot(), nil
	case "send_reliable", "send_best_effort":
		return nil, p.send(c, payload)
	case "send_to":
		return nil, sendTo(p.list, c.Addr, c.Name, payload)
	case "broadcast":
		p.queue.QueueBroadcast(&hooks.Broadcast{Msg: payload})
		return nil, nil
	case "update_meta":
		p.hooks.SetMeta(payload)
		return nil, p.list.UpdateNode(timeout)
	case "set_state":
		p.hooks.SetState(payload)
		return nil, nil
	case "ping":
		addr, err := net.ResolveUDPAddr("udp", c.Addr)
		if err != nil {
			return nil, err
		}
		rtt, err := p.list.Ping(c.Name, addr)
		return map[string]any{"rtt_us": rtt.Microseconds()}, err
	case "add_key", "use_key", "remove_key", "keys":
		return p.keys(c)
	}
	return nil, fmt.Errorf("unknown command %q", c.Cmd)
}

// send addresses a node by its name, as the library's callers do.
func (p *peer) send(c command, payload []byte) error {
	for _, n := range p.list.Members() {
		if n.Name != c.Name {
			continue
		}
		if c.Cmd == "send_reliable" {
			return p.list.SendReliable(n, payload)
		}
		return p.list.SendBestEffort(n, payload)
	}
	return fmt.Errorf("no member named %q", c.Name)
}

func (p *peer) keys(c command) (any, error) {
	ring := p.conf.Keyring
	if ring == nil {
		return nil, errors.New("encryption is not configured")
	}
	key, err := base64.StdEncoding.DecodeString(c.Key)
	if err != nil {
		return nil, err
	}
	switch c.Cmd {
	case "add_key":
		err = ring.AddKey(key)
	case "use_key":
		err = ring.UseKey(key)
	case "remove_key":
		err = ring.RemoveKey(key)
	}
	return ring.GetKeys(), err
}
