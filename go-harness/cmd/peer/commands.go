package main

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/counters"
	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/peek"
	"ruserf.dev/go-harness/internal/serfconf"
)

// command is every line after the first. Each command uses a few fields.
type command struct {
	ID  int64  `json:"id"`
	Cmd string `json:"cmd"`

	Addrs       []string          `json:"addrs"`
	IgnoreOld   bool              `json:"ignore_old"`
	Name        string            `json:"name"`
	Payload     string            `json:"payload"`
	Coalesce    bool              `json:"coalesce"`
	FilterNodes []string          `json:"filter_nodes"`
	FilterTags  map[string]string `json:"filter_tags"`
	Ack         bool              `json:"ack"`
	RelayFactor uint8             `json:"relay_factor"`
	TimeoutMs   int64             `json:"timeout_ms"`
	Handler     string            `json:"handler"`
	Handle      int64             `json:"handle"`
	Tags        map[string]string `json:"tags"`
	Prune       bool              `json:"prune"`
	Key         string            `json:"key"`
}

type peer struct {
	serf     *serf.Serf
	conf     *serf.Config
	out      *lines.Out
	watcher  *watcher
	counters *counters.Counters
}

// slow commands wait for the network; they run beside the others.
var slow = map[string]bool{
	"join": true, "leave": true, "query": true, "force_leave": true,
	"install_key": true, "use_key": true, "remove_key": true, "list_keys": true,
}

func (p *peer) handle(c command) {
	run := func() {
		result, err := p.run(c)
		p.out.Reply(c.ID, result, err)
	}
	if slow[c.Cmd] {
		go run()
		return
	}
	run()
}

func (p *peer) run(c command) (any, error) {
	s := p.serf
	switch c.Cmd {
	case "join":
		n, err := s.Join(c.Addrs, c.IgnoreOld)
		return map[string]any{"joined": n}, err
	case "leave":
		return nil, s.Leave()
	case "shutdown":
		return nil, s.Shutdown()
	case "state":
		return s.State().String(), nil
	case "members":
		members := []any{}
		for _, m := range s.Members() {
			members = append(members, serfconf.MemberJSON(m))
		}
		return members, nil
	case "local":
		return serfconf.MemberJSON(s.LocalMember()), nil
	case "stats":
		return s.Stats(), nil
	case "event":
		payload, err := decodePayload(c.Payload)
		if err != nil {
			return nil, err
		}
		return nil, s.UserEvent(c.Name, payload, c.Coalesce)
	case "query":
		return p.query(c)
	case "set_query_handler":
		return nil, p.watcher.setPolicy(c.Handler)
	case "respond":
		payload, err := decodePayload(c.Payload)
		if err != nil {
			return nil, err
		}
		return nil, p.watcher.respond(c.Handle, payload)
	case "set_tags":
		return nil, s.SetTags(c.Tags)
	case "force_leave":
		if c.Prune {
			return nil, s.RemoveFailedNodePrune(c.Name)
		}
		return nil, s.RemoveFailedNode(c.Name)
	case "install_key", "use_key", "remove_key", "list_keys":
		return p.keys(c)
	case "coordinate":
		return p.coordinate(c.Name)
	case "health":
		return s.Memberlist().GetHealthScore(), nil
	case "metrics":
		return p.counters.Snapshot(), nil
	case "table":
		return peek.Table(s.Memberlist()), nil
	case "queues":
		return p.queues(), nil
	case "keyring":
		return p.keyring(), nil
	}
	return nil, fmt.Errorf("unknown command %q", c.Cmd)
}

func (p *peer) query(c command) (any, error) {
	payload, err := decodePayload(c.Payload)
	if err != nil {
		return nil, err
	}
	params := p.serf.DefaultQueryParams()
	params.FilterNodes, params.FilterTags = c.FilterNodes, c.FilterTags
	params.RequestAck, params.RelayFactor = c.Ack, c.RelayFactor
	if c.TimeoutMs > 0 {
		params.Timeout = time.Duration(c.TimeoutMs) * time.Millisecond
	}
	start := time.Now()
	resp, err := p.serf.Query(c.Name, payload, params)
	if err != nil {
		return nil, err
	}
	acks, responses := []any{}, []any{}
	ackCh, respCh := resp.AckCh(), resp.ResponseCh()
	for ackCh != nil || respCh != nil {
		select {
		case from, open := <-ackCh:
			if !open {
				ackCh = nil
				continue
			}
			acks = append(acks, from)
			p.out.Send(map[string]any{"event": "query-ack", "query": c.ID, "from": from})
		case r, open := <-respCh:
			if !open {
				respCh = nil
				continue
			}
			row := map[string]any{
				"from": r.From, "payload": r.Payload, "ms": time.Since(start).Milliseconds(),
			}
			responses = append(responses, row)
			p.out.Send(map[string]any{
				"event": "query-response", "query": c.ID, "from": r.From, "payload": r.Payload,
			})
		}
	}
	return map[string]any{
		"acks": acks, "responses": responses, "ms": time.Since(start).Milliseconds(),
	}, nil
}

func (p *peer) keys(c command) (any, error) {
	opts := &serf.KeyRequestOptions{RelayFactor: c.RelayFactor}
	km := p.serf.KeyManager()
	var resp *serf.KeyResponse
	var err error
	switch c.Cmd {
	case "install_key":
		resp, err = km.InstallKeyWithOptions(c.Key, opts)
	case "use_key":
		resp, err = km.UseKeyWithOptions(c.Key, opts)
	case "remove_key":
		resp, err = km.RemoveKeyWithOptions(c.Key, opts)
	default:
		resp, err = km.ListKeysWithOptions(opts)
	}
	if resp == nil {
		return nil, err
	}
	return map[string]any{
		"messages": resp.Messages, "num_nodes": resp.NumNodes, "num_resp": resp.NumResp,
		"num_err": resp.NumErr, "keys": resp.Keys, "primary_keys": primaryKeys(resp),
	}, err
}

// primaryKeys is nil where the version does not count them.
func primaryKeys(resp *serf.KeyResponse) any {
	if field := reflect.ValueOf(resp).Elem().FieldByName("PrimaryKeys"); field.IsValid() {
		return field.Interface()
	}
	return nil
}

func (p *peer) coordinate(name string) (any, error) {
	if name == "" {
		return p.serf.GetCoordinate()
	}
	coord, ok := p.serf.GetCachedCoordinate(name)
	if !ok {
		return nil, errors.New("no coordinate is known")
	}
	return coord, nil
}

// queues lists memberlist's queue and serf's three.
func (p *peer) queues() map[string]any {
	queue := func(field string) []peek.Queued {
		return peek.Queue(peek.Field(p.serf, field).Interface().(*memberlist.TransmitLimitedQueue))
	}
	return map[string]any{
		"memberlist": peek.Broadcasts(p.serf.Memberlist()),
		"intent":     queue("broadcasts"),
		"event":      queue("eventBroadcasts"),
		"query":      queue("queryBroadcasts"),
	}
}

func (p *peer) keyring() [][]byte {
	if ring := p.conf.MemberlistConfig.Keyring; ring != nil {
		return ring.GetKeys()
	}
	return [][]byte{}
}
