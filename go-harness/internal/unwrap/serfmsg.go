package unwrap

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/serf/coordinate"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lib"
)

var serfNames = []string{
	"leave", "join", "push-pull", "user-event", "query", "query-response", "conflict-response",
	"key-request", "key-response", "relay",
}

// Serf describes one serf message.
func Serf(msg []byte) map[string]any {
	entry := map[string]any{}
	if len(msg) == 0 || int(msg[0]) >= len(serfNames) {
		entry["error"] = "not a serf message"
		return entry
	}
	entry["type"] = serfNames[msg[0]]
	body := msg[1:]
	var rest []byte
	switch msg[0] {
	case lib.LeaveType:
		rest, _ = value(entry, body, &lib.Leave{})
	case lib.JoinType:
		rest, _ = value(entry, body, &lib.Join{})
	case lib.SerfPushPullType:
		rest, _ = value(entry, body, &lib.SerfPushPull{})
	case lib.UserEventType:
		rest, _ = value(entry, body, &lib.UserEventMsg{})
	case lib.QueryType:
		q := &lib.Query{}
		rest, _ = value(entry, body, q)
		entry["filters"] = filters(q.Filters)
	case lib.QueryResponseType:
		r := &lib.QueryResponse{}
		rest, _ = value(entry, body, r)
		if p := r.Payload; len(p) > 1 && (p[0] == lib.ConflictResponseType || p[0] == lib.KeyResponseType) {
			if inner := Serf(p); inner["error"] == nil {
				entry["payload"] = inner
			}
		}
	case lib.ConflictResponseType:
		// The answer about an unknown member is a nil pointer.
		m := &serf.Member{}
		rest, _ = value(entry, body, &m)
	case lib.KeyRequestType:
		rest, _ = value(entry, body, &lib.KeyRequest{})
	case lib.KeyResponseType:
		rest, _ = value(entry, body, &lib.KeyResponse{})
	case lib.RelayType:
		var ok bool
		if rest, ok = value(entry, body, &lib.RelayHeader{}); ok {
			entry["inner"] = Serf(rest)
			rest = nil
		}
	}
	if len(rest) > 0 {
		entry["trailing"] = len(rest)
	}
	return entry
}

func filters(raw [][]byte) []any {
	out := []any{}
	for _, f := range raw {
		entry := map[string]any{}
		switch {
		case len(f) > 0 && f[0] == 0:
			entry["type"] = "node"
			value(entry, f[1:], &[]string{})
		case len(f) > 0 && f[0] == 1:
			entry["type"] = "tag"
			value(entry, f[1:], &lib.FilterTag{})
		default:
			entry["error"] = fmt.Sprintf("unknown filter %x", f)
		}
		out = append(out, entry)
	}
	return out
}

// tags describes a node's Meta as serf reads it.
func tags(meta []byte) any {
	if len(meta) == 0 || meta[0] != 0xff {
		return map[string]any{"role": string(meta)}
	}
	var t map[string]string
	entry := map[string]any{}
	value(entry, meta[1:], &t)
	if entry["error"] != nil || entry["reencode"] != "same" {
		return entry
	}
	return describe(reflect.ValueOf(t))
}

// pingPayload describes the payload of an ack as serf reads it.
func pingPayload(payload []byte) any {
	if len(payload) < 2 || payload[0] != 1 {
		return nil
	}
	entry := map[string]any{}
	value(entry, payload[1:], &coordinate.Coordinate{})
	return entry
}
