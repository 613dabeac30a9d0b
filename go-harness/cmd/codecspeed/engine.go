package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/peek"
)

// batch is how many datagrams are handed over before waiting for their end:
// they wait in a queue for another goroutine.
const batch = 20

// engineOps measures what a memberlist of 10,000 nodes does with messages. The
// Rust side has the same operations in compat-tests/benches/swim.rs.
func engineOps() []op {
	var ops []op
	ping := lib.Encode(lib.PingMsg, &lib.Ping{
		SeqNo: 123456, Node: "bench", SourceAddr: []byte{10, 0, 4, 210}, SourcePort: 7946,
		SourceNode: "node-04321.dc1",
	})
	alone := newEngine(4)
	ops = append(ops, op{"engine: ping", len(ping), func() { alone.packet(ping) }})

	var compounds []*dated
	for i := 0; i < members; i += 10 {
		var parts [][]byte
		for j := range 10 {
			parts = append(parts, lib.Encode(lib.AliveMsg, benchAlive(i+j)))
		}
		compounds = append(compounds, newDated(lib.Compound(parts)))
	}
	e := newEngine(4)
	e.merge(encodeBenchRows(firstIncarnation))
	ops = append(ops,
		op{"engine: compound of 10 known alives", len(compounds[0].bytes), func() {
			e.packet(compounds[e.count%len(compounds)].bytes)
			e.rest()
		}},
		op{"engine: compound of 10 new alives", len(compounds[0].bytes), func() {
			at := e.count % len(compounds)
			if at == 0 {
				e.incarnation++
			}
			compounds[at].set(e.incarnation)
			e.packet(compounds[at].bytes)
			e.rest()
		}})

	var alives, suspects []*dated
	for i := range members {
		alives = append(alives, newDated(lib.Encode(lib.AliveMsg, benchAlive(i))))
		suspects = append(suspects, newDated(lib.Encode(lib.SuspectMsg, &lib.Suspect{
			Incarnation: firstIncarnation, Node: benchName(i), From: "node-04321.dc1",
		})))
	}
	accused := newEngine(4)
	accused.merge(encodeBenchRows(firstIncarnation))
	ops = append(ops, op{"engine: alive, then suspect", len(alives[0].bytes) + len(suspects[0].bytes), func() {
		at := accused.count % members
		if at == 0 {
			accused.incarnation++
		}
		for _, d := range []*dated{alives[at], suspects[at]} {
			d.set(accused.incarnation)
			accused.packet(d.bytes)
		}
		accused.rest()
	}})
	return append(ops, bigEngineOps()...)
}

func bigEngineOps() []op {
	raw := encodeBenchRows(firstIncarnation)
	merged, idle, busy := newEngine(4), newEngine(0), newEngine(1<<20)
	for _, e := range []*engine{merged, idle, busy} {
		e.merge(raw)
	}
	for len(peek.Broadcasts(idle.list)) > 0 {
		lib.Gossip(idle.list)
	}
	return []op{
		{"engine: merge of 10,000 known rows", len(raw), func() { merged.merge(raw) }},
		{"engine: gossip round, idle", 0, func() { lib.Gossip(idle.list) }},
		{"engine: gossip round, with 10,000 queued", 0, func() { lib.Gossip(busy.list) }},
	}
}

// firstIncarnation is large enough to be encoded in four bytes.
const firstIncarnation = 1 << 17

// engine is a memberlist that is on its own and only reacts.
type engine struct {
	list        *memberlist.Memberlist
	from        net.Addr
	done        chan struct{}
	count       int
	incarnation uint32
}

func newEngine(retransmits int) *engine {
	e := &engine{
		from: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 7946},
		done: make(chan struct{}, 1), incarnation: firstIncarnation,
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Transport, conf.Delegate = "bench", void{}, e
	conf.Logger = log.New(io.Discard, "", 0)
	conf.EnableCompression = false
	conf.RetransmitMult = retransmits
	conf.DelegateProtocolMin, conf.DelegateProtocolMax, conf.DelegateProtocolVersion = 2, 5, 4
	conf.ProbeInterval, conf.PushPullInterval, conf.GossipInterval = 0, 0, 0
	list, err := memberlist.Create(conf)
	must(err)
	e.list = list
	return e
}

func (e *engine) packet(msg []byte) { lib.IngestPacket(e.list, msg, e.from, time.Time{}) }

// rest ends a batch: a user message is the last that is taken from the queue.
func (e *engine) rest() {
	e.count++
	if e.count%batch == 0 {
		e.packet([]byte{lib.UserMsg, 1})
		<-e.done
	}
}

// merge reads and merges the rows of a push/pull.
func (e *engine) merge(raw []byte) {
	dec := codec.NewDecoder(bytes.NewReader(raw), &codec.MsgpackHandle{})
	list := make([]lib.PushNodeState, members)
	for i := range list {
		must(dec.Decode(&list[i]))
	}
	must(lib.MergeRemoteState(e.list, false, list))
}

func (e *engine) NodeMeta(int) []byte             { return nil }
func (e *engine) NotifyMsg([]byte)                { e.done <- struct{}{} }
func (e *engine) GetBroadcasts(int, int) [][]byte { return nil }
func (e *engine) LocalState(bool) []byte          { return nil }
func (e *engine) MergeRemoteState([]byte, bool)   {}

// void is a transport that sends nowhere.
type void struct{}

func (void) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(10, 0, 0, 1).To4(), 7946, nil
}
func (void) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, nil }
func (void) PacketCh() <-chan *memberlist.Packet       { return nil }
func (void) StreamCh() <-chan net.Conn                 { return nil }
func (void) Shutdown() error                           { return nil }
func (void) DialTimeout(string, time.Duration) (net.Conn, error) {
	return nil, io.ErrClosedPipe
}

// dated is a message whose incarnations are changed in place.
type dated struct {
	bytes []byte
	at    []int
}

func newDated(msg []byte) *dated {
	d := &dated{bytes: msg}
	key := []byte("Incarnation\xce")
	for from := 0; ; {
		found := bytes.Index(msg[from:], key)
		if found < 0 {
			return d
		}
		from += found + len(key)
		d.at = append(d.at, from)
	}
}

func (d *dated) set(incarnation uint32) {
	for _, at := range d.at {
		binary.BigEndian.PutUint32(d.bytes[at:], incarnation)
	}
}

var benchMeta = bytes.Repeat([]byte{0x6d}, 50)

func benchName(i int) string { return fmt.Sprintf("node-%05d.dc1", i) }

func benchAlive(i int) *lib.Alive {
	return &lib.Alive{
		Incarnation: firstIncarnation, Node: benchName(i), Addr: []byte{10, 1, byte(i >> 8), byte(i)},
		Port: 7946, Meta: benchMeta, Vsn: []uint8{1, 5, 2, 2, 5, 4},
	}
}

func encodeBenchRows(incarnation uint32) []byte {
	var b bytes.Buffer
	enc := codec.NewEncoder(&b, &codec.MsgpackHandle{})
	for i := range members {
		must(enc.Encode(&lib.PushNodeState{
			Name: benchName(i), Addr: []byte{10, 1, byte(i >> 8), byte(i)}, Port: 7946,
			Meta: benchMeta, Incarnation: incarnation, Vsn: []uint8{1, 5, 2, 2, 5, 4},
		}))
	}
	return b.Bytes()
}
