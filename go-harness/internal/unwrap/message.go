package unwrap

import (
	"fmt"

	"ruserf.dev/go-harness/internal/lib"
)

// depthMax bounds compounds in compounds.
const depthMax = 16

// Message describes one bare memberlist message.
func Message(buf []byte) *Result {
	r := &Result{Layers: []string{}}
	r.catch(func() error {
		r.message(buf, 0)
		return nil
	})
	return r
}

func (r *Result) add(name string) map[string]any {
	entry := map[string]any{"type": name}
	r.Messages = append(r.Messages, entry)
	return entry
}

func (r *Result) message(buf []byte, depth int) {
	if len(buf) == 0 || depth > depthMax {
		r.add("none")["error"] = "missing message type byte, or nested too deep"
		return
	}
	body := buf[1:]
	switch buf[0] {
	case lib.CompoundMsg:
		trunc, parts, err := lib.DecodeCompound(body)
		if err != nil || trunc > 0 {
			r.add("compound")["error"] = fmt.Sprintf("truncated %d: %v", trunc, err)
			return
		}
		r.layer("compound:%d", len(parts))
		for _, part := range parts {
			r.message(part, depth+1)
		}
	case lib.CompressMsg:
		plain, err := lib.DecompressPayload(body)
		if err != nil {
			r.add("compress")["error"] = err.Error()
			return
		}
		r.layer("compress")
		r.message(plain, depth+1)
	case lib.UserMsg:
		entry := r.add("user")
		entry["fields"] = map[string]any{"Payload": fmt.Sprintf("hex:%x", body)}
		if inner := Serf(body); inner["error"] == nil {
			entry["serf"] = inner
		} else {
			entry["serf_error"] = inner["error"]
		}
	default:
		r.plain(buf[0], body)
	}
}

func (r *Result) plain(kind byte, body []byte) {
	var rest []byte
	var entry map[string]any
	switch kind {
	case lib.PingMsg:
		entry = r.add("ping")
		rest, _ = value(entry, body, &lib.Ping{})
	case lib.IndirectPingMsg:
		entry = r.add("indirect-ping")
		rest, _ = value(entry, body, &lib.IndirectPingReq{})
	case lib.AckRespMsg:
		entry = r.add("ack")
		ack := &lib.AckResp{}
		rest, _ = value(entry, body, ack)
		if coord := pingPayload(ack.Payload); coord != nil {
			entry["coordinate"] = coord
		}
	case lib.NackRespMsg:
		entry = r.add("nack")
		rest, _ = value(entry, body, &lib.NackResp{})
	case lib.SuspectMsg:
		entry = r.add("suspect")
		rest, _ = value(entry, body, &lib.Suspect{})
	case lib.DeadMsg:
		entry = r.add("dead")
		rest, _ = value(entry, body, &lib.Dead{})
	case lib.AliveMsg:
		entry = r.add("alive")
		a := &lib.Alive{}
		rest, _ = value(entry, body, a)
		entry["ip"], entry["tags"] = ipText(a.Addr), tags(a.Meta)
	case lib.ErrMsg:
		entry = r.add("error")
		rest, _ = value(entry, body, &lib.ErrResp{})
	default:
		r.add(fmt.Sprintf("type-%d", kind))["error"] = "not supported here"
		return
	}
	if len(rest) > 0 {
		entry["trailing"] = len(rest)
	}
}

func (r *Result) streamMessage(buf []byte) {
	if len(buf) == 0 {
		r.add("none")["error"] = "empty stream message"
		return
	}
	body := buf[1:]
	switch buf[0] {
	case lib.PushPullMsg:
		r.pushPull(body)
	case lib.UserMsg:
		entry := r.add("user")
		h := &lib.UserMsgHeader{}
		rest, ok := value(entry, body, h)
		if !ok {
			return
		}
		if len(rest) != h.UserMsgLen {
			entry["error"] = fmt.Sprintf("header says %d bytes, %d follow", h.UserMsgLen, len(rest))
			return
		}
		entry["payload"] = fmt.Sprintf("hex:%x", rest)
		if inner := Serf(rest); inner["error"] == nil {
			entry["serf"] = inner
		}
	case lib.PingMsg, lib.AckRespMsg, lib.ErrMsg:
		r.plain(buf[0], body)
	default:
		r.add(fmt.Sprintf("type-%d", buf[0]))["error"] = "not supported on a stream"
	}
}

func (r *Result) pushPull(body []byte) {
	entry := r.add("push-pull")
	h := &lib.PushPullHeader{}
	rest, ok := value(entry, body, h)
	if !ok {
		return
	}
	rows := []any{}
	for range h.Nodes {
		row := map[string]any{}
		n := &lib.PushNodeState{}
		rest, ok = value(row, rest, n)
		row["ip"], row["tags"] = ipText(n.Addr), tags(n.Meta)
		rows = append(rows, row)
		if !ok {
			break
		}
	}
	entry["rows"] = rows
	if !ok {
		return
	}
	if len(rest) != h.UserStateLen {
		entry["error"] = fmt.Sprintf("header says %d bytes of user state, %d follow", h.UserStateLen, len(rest))
		return
	}
	entry["user_state"] = fmt.Sprintf("hex:%x", rest)
	if len(rest) > 0 {
		if inner := Serf(rest); inner["error"] == nil {
			entry["serf"] = inner
		}
	}
}
