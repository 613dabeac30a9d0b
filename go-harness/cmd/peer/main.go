// Command peer is a serf node driven by JSON lines: the first line on stdin is
// its configuration, the others are commands; see README.md.
package main

import (
	"fmt"

	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/counters"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/peek"
	"ruserf.dev/go-harness/internal/serfconf"
)

// config is the first line on stdin.
type config struct {
	serfconf.Options
	// QueryHandler is the first respond policy, see answerFor.
	QueryHandler string `json:"query_handler"`
}

func main() { lines.Main(run) }

func run(in *lines.In, out *lines.Out) error {
	var c config
	if err := in.First(&c); err != nil {
		return err
	}
	sink, err := counters.Install()
	if err != nil {
		return err
	}
	w := newWatcher(out, "")
	if err := w.setPolicy(c.QueryHandler); err != nil {
		return err
	}
	events := make(chan serf.Event, 4096)
	send := func(event map[string]any) { out.Send(event) }
	conf, err := c.Build(send, out.LogWriter(), events)
	if err != nil {
		return err
	}
	go w.run(events)
	s, err := serf.Create(conf)
	if err != nil {
		return err
	}
	defer func() { _ = s.Shutdown() }()
	p := &peer{serf: s, conf: conf, out: out, watcher: w, counters: sink}
	out.Send(map[string]any{
		"ready": serfconf.MemberJSON(s.LocalMember()),
		"table": peek.Table(s.Memberlist()),
	})
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
		if c.Cmd == "quit" {
			p.out.Reply(c.ID, nil, nil)
			return nil
		}
		p.handle(c)
	}
}
