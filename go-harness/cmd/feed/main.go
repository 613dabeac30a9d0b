// Command feed drives one memberlist, step by step, in virtual time: the first
// line on stdin is its configuration, each later line one step, and each answer
// is everything that can be seen afterwards. Nothing runs between steps except
// what the steps caused, so the same script gives the same answers.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"testing/synctest"

	"ruserf.dev/go-harness/internal/lines"
)

func main() {
	in := lines.NewIn(os.Stdin)
	// synctest only runs under a test; this is one with a single case.
	test := testing.InternalTest{Name: "feed", F: func(t *testing.T) {
		synctest.Test(t, func(*testing.T) {
			code := 0
			if err := run(in); err != nil {
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

func run(in *lines.In) error {
	line, err := in.Next()
	if err != nil {
		return fmt.Errorf("no configuration line: %w", err)
	}
	n, err := newNode(line)
	if err != nil {
		return err
	}
	synctest.Wait()
	answer(n.observe(nil))
	for {
		line, err := in.Next()
		if err != nil {
			return nil
		}
		var s step
		if err := lines.Decode(line, &s); err != nil {
			answer(map[string]any{"error": "step: " + err.Error()})
			continue
		}
		extra, err := n.apply(s)
		synctest.Wait()
		seen := n.observe(extra)
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
