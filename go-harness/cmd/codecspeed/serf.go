package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/peek"
)

// answers is the number of nodes that answer a query.
const answers = 1_000

// serfOps measures what a serf node does with events, answers, push/pull state
// and its snapshot, in files in dir. The Rust side has the same in compat-tests/benches/serf.rs.
func serfOps(dir string) []op {
	payload := bytes.Repeat([]byte{'p'}, 80)
	out, in := newSerf(0), newSerf(0)
	recorded := newSerf(0, func(conf *serf.Config) { conf.SnapshotPath = filepath.Join(dir, "of-events") })
	ltime := 0
	take := func(n *node) {
		ltime++
		n.delegate.NotifyMsg(lib.SerfEncode(lib.UserEventType, lib.UserEventMsg{
			LTime: serf.LamportTime(ltime), Name: "deploy", Payload: payload,
		}))
	}
	ops := []op{
		{"serf: user event out", len(payload), func() { must(out.serf.UserEvent("deploy", payload, false)) }},
		{"serf: user event in", len(payload), func() { take(in) }},
		{"serf: user event in, with a snapshot", len(payload), func() { take(recorded) }},
	}

	asker := newSerf(answers)
	ops = append(ops, op{"serf: query with 1,000 answers", answers, asker.ask})

	big := bigState()
	state := lib.SerfEncode(lib.SerfPushPullType, big)
	ops = append(ops,
		op{"serf: push/pull state of 10,000 members, encode", len(state), func() {
			lib.SerfEncode(lib.SerfPushPullType, big)
		}},
		op{"serf: push/pull state of 10,000 members, decode", len(state), func() {
			var got lib.SerfPushPull
			must(lib.SerfDecode(state[1:], &got))
		}})

	file := snapshotFile(dir, "snapshot", func(n int) int { return n % 10_000 })
	// Xorshift, as on the Rust side.
	random := uint64(88_172_645_463_325_252)
	anyOrder := snapshotFile(dir, "snapshot-any-order", func(int) int {
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		return int(random % 10_000)
	})
	return append(ops,
		op{"serf: snapshot of 100,000 lines, replay", 0, func() { replay(file) }},
		op{"serf: snapshot of 100,000 lines in any order, replay", 0, func() { replay(anyOrder) }})
}

type node struct {
	serf     *serf.Serf
	delegate memberlist.Delegate
	conf     *serf.Config
	names    []string
}

// newSerf is a node that only reacts, with others that are known to it.
func newSerf(others int, changes ...func(*serf.Config)) *node {
	conf := serf.DefaultConfig()
	conf.NodeName = "bench"
	conf.LogOutput = io.Discard
	conf.MemberlistConfig.LogOutput = io.Discard
	conf.MemberlistConfig.Name, conf.MemberlistConfig.Transport = "bench", void{}
	conf.MemberlistConfig.ProbeInterval, conf.MemberlistConfig.PushPullInterval = 0, 0
	for _, change := range changes {
		change(conf)
	}
	s, err := serf.Create(conf)
	must(err)
	n := &node{serf: s, delegate: conf.MemberlistConfig.Delegate, conf: conf}
	for i := range others {
		n.names = append(n.names, benchName(i))
		n.alive(i)
	}
	return n
}

// alive makes a member known, as memberlist does when it hears of one.
func (n *node) alive(i int) {
	n.conf.MemberlistConfig.Events.NotifyJoin(&memberlist.Node{
		Name: benchName(i), Addr: net.IPv4(10, 1, byte(i>>8), byte(i)), Port: 7946, Meta: []byte{0xff, 0x80},
		PMin: 1, PMax: 5, PCur: 2, DMin: 2, DMax: 5, DCur: 5,
	})
}

// ask asks a query and takes an answer of every other.
func (n *node) ask() {
	response, err := n.serf.Query("uptime", nil, nil)
	must(err)
	ltime := serf.LamportTime(peek.Field(response, "lTime").Uint())
	id := uint32(peek.Field(response, "id").Uint())
	for _, name := range n.names {
		n.delegate.NotifyMsg(lib.SerfEncode(lib.QueryResponseType, lib.QueryResponse{
			LTime: ltime, ID: id, From: name, Payload: []byte("up 3 days"),
		}))
		<-response.ResponseCh()
	}
	response.Close()
}

func bigState() lib.SerfPushPull {
	state := lib.SerfPushPull{StatusLTimes: map[string]serf.LamportTime{}, Events: make([]*lib.UserEvents, 512)}
	for i := range members {
		state.StatusLTimes[benchName(i)] = serf.LamportTime(i)
	}
	return state
}

func snapshotFile(dir, name string, member func(line int) int) string {
	var text strings.Builder
	for n := range 50_000 {
		fmt.Fprintf(&text, "alive: node-%d 10.0.%d.%d:7946\nclock: %d\n", member(n), n/256%256, n%256, n)
	}
	path := filepath.Join(dir, name)
	must(os.WriteFile(path, []byte(text.String()), 0o600))
	return path
}

func replay(path string) {
	stop := make(chan struct{})
	_, snapshot, err := serf.NewSnapshotter(
		path, 128<<20, false, log.New(io.Discard, "", 0), new(serf.LamportClock), nil, stop)
	must(err)
	close(stop)
	snapshot.Wait()
}
