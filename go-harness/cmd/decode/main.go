// Command decode reads captured bytes as hex, one capture a line, and describes
// what Go finds in them. A line is bare hex (then the flags apply) or an object
// {"hex", "kind", "label", "keys"}. Kinds: packet, stream (the dialer's bytes),
// reply (the acceptor's bytes), message (bare memberlist), serf (bare serf),
// payload (a typed payload, which is answered as a value).
package main

import (
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"ruserf.dev/go-harness/internal/lines"
	"ruserf.dev/go-harness/internal/payload"
	"ruserf.dev/go-harness/internal/unwrap"
)

type capture struct {
	ID    int64    `json:"id"`
	Hex   string   `json:"hex"`
	Kind  string   `json:"kind"`
	Label string   `json:"label"`
	Keys  []string `json:"keys"`
}

func main() {
	kind := flag.String("kind", "packet", "packet, stream, reply, message, serf or payload")
	label := flag.String("label", "", "label of the cluster")
	keys := flag.String("key", "", "base64 keys, separated by commas")
	flag.Parse()
	defaults := capture{Kind: *kind, Label: *label}
	if *keys != "" {
		defaults.Keys = strings.Split(*keys, ",")
	}
	out := lines.NewOut(os.Stdout)
	defer out.Close()
	in := lines.NewIn(os.Stdin)
	for {
		line, err := in.Next()
		if err != nil {
			if err != io.EOF {
				out.Send(map[string]any{"fatal": err.Error()})
			}
			return
		}
		c := defaults
		if line[0] == '{' {
			err = lines.Decode(line, &c)
		} else {
			c.Hex = string(line)
		}
		var r *unwrap.Result
		if err == nil {
			r, err = open(c)
		}
		if err != nil {
			out.Send(map[string]any{"id": c.ID, "readable": false, "error": err.Error()})
			continue
		}
		out.Send(map[string]any{
			"id": c.ID, "readable": r.All(), "layers": r.Layers, "messages": r.Messages,
			"error": r.Error,
		})
	}
}

func open(c capture) (*unwrap.Result, error) {
	buf, err := hex.DecodeString(c.Hex)
	if err != nil {
		return nil, err
	}
	o := unwrap.Options{Label: c.Label}
	for _, text := range c.Keys {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		o.Keys = append(o.Keys, key)
	}
	switch c.Kind {
	case "packet":
		return unwrap.Packet(buf, o), nil
	case "stream":
		return unwrap.Stream(buf, o, false), nil
	case "reply":
		return unwrap.Stream(buf, o, true), nil
	case "message":
		return unwrap.Message(buf), nil
	case "serf":
		entry := unwrap.Serf(buf)
		return &unwrap.Result{Layers: []string{}, Messages: []map[string]any{entry}}, nil
	case "payload":
		value, err := payload.Decode(buf)
		messages := []map[string]any{{"value": value}}
		return &unwrap.Result{Layers: []string{}, Messages: messages}, err
	}
	return nil, fmt.Errorf("unknown kind %q", c.Kind)
}
