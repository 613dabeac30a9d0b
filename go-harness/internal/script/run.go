// Package script drives one node, step by step, in virtual time.
package script

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"testing/synctest"

	"ruserf.dev/go-harness/internal/lines"
)

// Node is what a script drives.
type Node interface {
	// Apply does one step.
	Apply(s Step) (map[string]any, error)
	// Observe returns what has happened since the last call.
	Observe() map[string]any
}

// Main reads a configuration line and steps from stdin. Nothing runs between
// steps except what the steps caused.
func Main(create func(line []byte) (Node, error)) {
	in := lines.NewIn(os.Stdin)
	// synctest only runs under a test; this is one with a single case.
	test := testing.InternalTest{Name: "feed", F: func(t *testing.T) {
		synctest.Test(t, func(*testing.T) {
			code := 0
			if err := run(in, create); err != nil {
				answer(map[string]any{"fatal": err.Error()})
				code = 1
			}
			// The node's goroutines never end; leave them.
			os.Exit(code)
		})
	}}
	all := func(string, string) (bool, error) { return true, nil }
	testing.Main(all, []testing.InternalTest{test}, nil, nil)
}

func run(in *lines.In, create func([]byte) (Node, error)) error {
	line, err := in.Next()
	if err != nil {
		return fmt.Errorf("no configuration line: %w", err)
	}
	n, err := create(line)
	if err != nil {
		return err
	}
	synctest.Wait()
	answer(n.Observe())
	for {
		line, err := in.Next()
		if err != nil {
			return nil
		}
		var s Step
		if err := lines.Decode(line, &s); err != nil {
			answer(map[string]any{"error": "step: " + err.Error()})
			continue
		}
		extra, err := n.Apply(s)
		synctest.Wait()
		seen := n.Observe()
		for key, value := range extra {
			seen[key] = value
		}
		if err != nil {
			seen["error"] = err.Error()
		}
		answer(seen)
	}
}

// answer writes at once: a writing goroutine of its own would not be in the
// bubble of virtual time.
func answer(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		raw = []byte(`{"fatal":"cannot encode an answer"}`)
	}
	_, _ = os.Stdout.Write(append(raw, '\n'))
}
