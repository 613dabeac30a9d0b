// Package lines speaks JSON lines: one object a line, commands in, answers out.
package lines

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// Out writes objects as lines. Send never blocks on a slow reader, so a peer's
// protocol goroutines are not slowed by the reader of the output.
type Out struct {
	mu     sync.Mutex
	cond   *sync.Cond
	queue  [][]byte
	closed bool
	done   chan struct{}
}

// NewOut starts the writing goroutine.
func NewOut(w io.Writer) *Out {
	o := &Out{done: make(chan struct{})}
	o.cond = sync.NewCond(&o.mu)
	go o.run(w)
	return o
}

func (o *Out) run(w io.Writer) {
	defer close(o.done)
	bw := bufio.NewWriter(w)
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.cond.Wait()
		}
		batch, closed := o.queue, o.closed
		o.queue = nil
		o.mu.Unlock()
		for _, line := range batch {
			_, _ = bw.Write(line)
		}
		_ = bw.Flush()
		if closed && len(batch) == 0 {
			return
		}
	}
}

// Send queues one object.
func (o *Out) Send(v any) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		buf.Reset()
		_ = enc.Encode(map[string]any{"fatal": fmt.Sprintf("cannot encode an answer: %v", err)})
	}
	o.mu.Lock()
	o.queue = append(o.queue, buf.Bytes())
	o.mu.Unlock()
	o.cond.Signal()
}

// Close flushes what was queued and stops the writer.
func (o *Out) Close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cond.Signal()
	<-o.done
}

// Reply answers the command with this id.
func (o *Out) Reply(id int64, result any, err error) {
	if err != nil {
		o.Send(map[string]any{"id": id, "ok": false, "error": err.Error(), "result": result})
		return
	}
	o.Send(map[string]any{"id": id, "ok": true, "result": result})
}

// LogWriter turns log output into {"log": ...} lines.
func (o *Out) LogWriter() io.Writer { return logWriter{o} }

type logWriter struct{ out *Out }

func (l logWriter) Write(p []byte) (int, error) {
	for _, line := range bytes.Split(bytes.TrimRight(p, "\n"), []byte("\n")) {
		l.out.Send(map[string]any{"log": string(line)})
	}
	return len(p), nil
}

// In reads lines of up to 64 MiB.
type In struct{ scanner *bufio.Scanner }

// NewIn reads from r.
func NewIn(r io.Reader) *In {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), 64<<20)
	return &In{s}
}

// Next returns the next line that is not blank; io.EOF at the end.
func (in *In) Next() ([]byte, error) {
	for in.scanner.Scan() {
		line := bytes.TrimSpace(in.scanner.Bytes())
		if len(line) > 0 {
			return append([]byte(nil), line...), nil
		}
	}
	if err := in.scanner.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

// Decode rejects unknown fields, so that a misspelt option is an error.
func Decode(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// First decodes the first line, the configuration of the program.
func (in *In) First(into any) error {
	line, err := in.Next()
	if err != nil {
		return fmt.Errorf("no configuration line: %w", err)
	}
	if err := Decode(line, into); err != nil {
		return fmt.Errorf("configuration line: %w", err)
	}
	return nil
}

// Main is the main function of a program that is driven by lines: it reports
// the error of run as the last line, and exits with 1.
func Main(run func(in *In, out *Out) error) {
	out := NewOut(os.Stdout)
	err := run(NewIn(os.Stdin), out)
	if err != nil {
		out.Send(map[string]any{"fatal": err.Error()})
	}
	out.Close()
	if err != nil {
		os.Exit(1)
	}
}
