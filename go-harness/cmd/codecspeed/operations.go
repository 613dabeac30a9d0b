package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lib"
)

// members is the size of the big cluster.
const members = 10_000

// operations are all that is measured; files of theirs are in dir.
func operations(dir string) []op {
	var ops []op
	ops = append(ops, messageOps()...)
	ops = append(ops, stateOps()...)
	ops = append(ops, layerOps()...)
	ops = append(ops, queueOps()...)
	ops = append(ops, engineOps()...)
	return append(ops, serfOps(dir)...)
}

// both measures encoding and decoding of one memberlist message.
func both[T any](name string, kind uint8, in *T) []op {
	msg := lib.Encode(kind, in)
	return []op{
		{"encode " + name, len(msg), func() { lib.Encode(kind, in) }},
		{"decode " + name, len(msg), func() {
			var out T
			must(lib.Decode(msg[1:], &out))
		}},
	}
}

func messageOps() []op {
	ping := &lib.Ping{
		SeqNo: 123456, Node: "node-01234.dc1", SourceAddr: []byte{10, 0, 4, 210}, SourcePort: 7946,
		SourceNode: "node-04321.dc1",
	}
	ack := &lib.AckResp{SeqNo: 123456, Payload: bytes.Repeat([]byte{7}, 130)}
	ops := both("ping", lib.PingMsg, ping)
	ops = append(ops, both("ack with 130 byte payload", lib.AckRespMsg, ack)...)
	ops = append(ops, both("alive", lib.AliveMsg, aliveOf(1234))...)

	var parts [][]byte
	for i := range 10 {
		parts = append(parts, lib.Encode(lib.AliveMsg, aliveOf(i)))
	}
	compound := lib.Compound(parts)
	ops = append(ops,
		op{"build compound of 10 alives", len(compound), func() {
			var list [][]byte
			for i := range 10 {
				list = append(list, lib.Encode(lib.AliveMsg, aliveOf(i)))
			}
			lib.Compound(list)
		}},
		op{"split and decode compound of 10 alives", len(compound), func() {
			_, list, err := lib.DecodeCompound(compound[1:])
			must(err)
			for _, part := range list {
				var a lib.Alive
				must(lib.Decode(part[1:], &a))
			}
		}})

	event := lib.UserEventMsg{LTime: 4711, Name: "deploy", Payload: bytes.Repeat([]byte{9}, 40)}
	msg := lib.SerfEncode(lib.UserEventType, &event)
	return append(ops,
		op{"encode user event", len(msg), func() { lib.SerfEncode(lib.UserEventType, &event) }},
		op{"decode user event", len(msg), func() {
			var out lib.UserEventMsg
			must(lib.SerfDecode(msg[1:], &out))
		}},
		op{"decode 4 tags", len(tagsOf(1)), func() {
			tags := map[string]string{}
			dec := codec.NewDecoder(bytes.NewReader(tagsOf1[1:]), &codec.MsgpackHandle{})
			must(dec.Decode(&tags))
		}})
}

var tagsOf1 = tagsOf(1)

func tagsOf(i int) []byte {
	var b bytes.Buffer
	b.WriteByte(0xff)
	tags := map[string]string{"role": "web", "dc": "eu-west-1", "ver": "1.2.3", "id": fmt.Sprint(i)}
	must(codec.NewEncoder(&b, &codec.MsgpackHandle{}).Encode(tags))
	return b.Bytes()
}

func aliveOf(i int) *lib.Alive {
	return &lib.Alive{
		Incarnation: uint32(i), Node: fmt.Sprintf("node-%05d.dc1", i), Addr: []byte{10, 0, byte(i >> 8), byte(i)},
		Port: 7946, Meta: tagsOf1, Vsn: []uint8{1, 5, 2, 2, 5, 4},
	}
}

func rowOf(i int) *lib.PushNodeState {
	return &lib.PushNodeState{
		Name: fmt.Sprintf("node-%05d.dc1", i), Addr: []byte{10, 0, byte(i >> 8), byte(i)}, Port: 7946,
		Meta: tagsOf1, Incarnation: uint32(i), Vsn: []uint8{1, 5, 2, 2, 5, 4},
	}
}

func stateOps() []op {
	rows := make([]*lib.PushNodeState, members)
	serfState := lib.SerfPushPull{
		LTime: 20000, StatusLTimes: map[string]serf.LamportTime{}, LeftMembers: []string{},
		EventLTime: 5, Events: make([]*lib.UserEvents, 512), QueryLTime: 5,
	}
	for i := range rows {
		rows[i] = rowOf(i)
		serfState.StatusLTimes[rows[i].Name] = serf.LamportTime(i)
	}
	encodeRows := func() []byte {
		var b bytes.Buffer
		enc := codec.NewEncoder(&b, &codec.MsgpackHandle{})
		must(enc.Encode(&lib.PushPullHeader{Nodes: members}))
		for _, row := range rows {
			must(enc.Encode(row))
		}
		return b.Bytes()
	}
	raw := encodeRows()
	user := lib.SerfEncode(lib.SerfPushPullType, &serfState)
	return []op{
		{"encode push/pull of 10,000 rows", len(raw), func() { encodeRows() }},
		{"decode push/pull of 10,000 rows", len(raw), func() {
			dec := codec.NewDecoder(bytes.NewReader(raw), &codec.MsgpackHandle{})
			var h lib.PushPullHeader
			must(dec.Decode(&h))
			list := make([]lib.PushNodeState, h.Nodes)
			for i := range list {
				must(dec.Decode(&list[i]))
			}
		}},
		{"encode serf state of 10,000", len(user), func() { lib.SerfEncode(lib.SerfPushPullType, &serfState) }},
		{"decode serf state of 10,000", len(user), func() {
			var out lib.SerfPushPull
			must(lib.SerfDecode(user[1:], &out))
		}},
	}
}

func layerOps() []op {
	var rows []byte
	for i := 0; len(rows) < 64<<10; i++ {
		rows = append(rows, lib.Encode(0, rowOf(i))[1:]...)
	}
	var ops []op
	for _, n := range []int{64 << 10, 1400} {
		raw := rows[:n]
		packed := lib.CompressMessage(raw)
		ops = append(ops,
			op{fmt.Sprintf("compress %d bytes of rows", n), n, func() { lib.CompressMessage(raw) }},
			op{fmt.Sprintf("decompress %d bytes of rows", n), n, func() {
				_, err := lib.DecompressPayload(packed[1:])
				must(err)
			}})
	}
	plain, aad := rows[:1400], []byte("dc1")
	for _, size := range []int{16, 32} {
		key := bytes.Repeat([]byte{1}, size)
		other, third := bytes.Repeat([]byte{2}, size), bytes.Repeat([]byte{3}, size)
		sealed := lib.Encrypt(1, key, plain, aad)
		open := func(keys ...[]byte) func() {
			return func() {
				_, err := lib.DecryptPayload(keys, sealed, aad)
				must(err)
			}
		}
		ops = append(ops,
			op{fmt.Sprintf("seal 1400 bytes AES-%d", size*8), 1400, func() { lib.Encrypt(1, key, plain, aad) }},
			op{fmt.Sprintf("open 1400 bytes AES-%d", size*8), 1400, open(key)},
			op{fmt.Sprintf("open 1400 bytes AES-%d with the third key", size*8), 1400, open(other, third, key)})
	}
	return ops
}

type named struct {
	name string
	msg  []byte
}

func (b *named) Invalidates(memberlist.Broadcast) bool { return false }
func (b *named) Name() string                          { return b.name }
func (b *named) Message() []byte                       { return b.msg }
func (b *named) Finished()                             {}

func queueOps() []op {
	q := &memberlist.TransmitLimitedQueue{NumNodes: func() int { return members }, RetransmitMult: 1 << 20}
	var list []*named
	for i := range members {
		a := aliveOf(i)
		list = append(list, &named{a.Node, lib.Encode(lib.AliveMsg, a)})
		q.QueueBroadcast(list[i])
	}
	at := 0
	return []op{
		{"fill one packet from a queue of 10,000", 1400, func() {
			if len(q.GetBroadcasts(2, 1398)) == 0 {
				panic("the queue is empty")
			}
		}},
		{"replace one named broadcast in 10,000", len(list[0].msg), func() {
			q.QueueBroadcast(list[at%members])
			at++
		}},
	}
}

func must(err error) {
	if err != nil && err != io.EOF {
		panic(err)
	}
}
