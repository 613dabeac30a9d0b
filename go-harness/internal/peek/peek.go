// Package peek reads unexported state of memberlist, under memberlist's own
// locks, so that tests can compare incarnations, states and queues.
package peek

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/google/btree"
	"github.com/hashicorp/memberlist"
)

// Row is one record of memberlist's node table.
type Row struct {
	Name        string   `json:"name"`
	Addr        string   `json:"addr"`
	AddrHex     string   `json:"addr_hex"`
	Port        uint16   `json:"port"`
	State       string   `json:"state"`
	Incarnation uint32   `json:"incarnation"`
	MetaHex     string   `json:"meta_hex"`
	Vsn         [6]uint8 `json:"vsn"`
	// Suspicion says that a suspicion timer is registered for the node.
	Suspicion     bool  `json:"suspicion"`
	Confirmations int32 `json:"confirmations"`
	// StateAgeMs is how long the node has been in its state.
	StateAgeMs int64 `json:"state_age_ms"`
}

// Queued is one entry of a broadcast queue, in the order of sending.
type Queued struct {
	Name      string `json:"name"`
	Transmits int    `json:"transmits"`
	Hex       string `json:"hex"`
}

// Field reaches a field of *ptr whether exported or not. It panics when the
// library no longer has the field: the harness must then be adapted.
func Field(ptr any, name string) reflect.Value {
	return Open(reflect.ValueOf(ptr).Elem(), name)
}

// Open reaches a field of an addressable struct, as Field does.
func Open(v reflect.Value, name string) reflect.Value {
	f := v.FieldByName(name)
	if !f.IsValid() {
		panic(fmt.Sprintf("%s has no field %s in this version", v.Type(), name))
	}
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

// Table returns the rows in the order memberlist keeps them.
func Table(m *memberlist.Memberlist) []Row {
	lock := Field(m, "nodeLock").Addr().Interface().(*sync.RWMutex)
	lock.RLock()
	defer lock.RUnlock()
	nodes, timers := Field(m, "nodes"), Field(m, "nodeTimers")
	rows := make([]Row, 0, nodes.Len())
	for i := range nodes.Len() {
		rec := nodes.Index(i).Elem()
		node := Open(rec, "Node").Interface().(memberlist.Node)
		row := Row{
			Name: node.Name, Addr: node.Addr.String(), AddrHex: hex.EncodeToString(node.Addr),
			Port: node.Port, MetaHex: hex.EncodeToString(node.Meta),
			State:       stateName(int(Open(rec, "State").Int())),
			Incarnation: uint32(Open(rec, "Incarnation").Uint()),
			StateAgeMs:  time.Since(Open(rec, "StateChange").Interface().(time.Time)).Milliseconds(),
			Vsn:         [6]uint8{node.PMin, node.PMax, node.PCur, node.DMin, node.DMax, node.DCur},
		}
		if timer := timers.MapIndex(reflect.ValueOf(node.Name)); timer.IsValid() && !timer.IsNil() {
			row.Suspicion = true
			row.Confirmations = int32(counter(Open(timer.Elem(), "n")))
		}
		rows = append(rows, row)
	}
	return rows
}

// NodeState names a node's state in lower case; "" where the version does not tell.
func NodeState(n *memberlist.Node) string {
	state := reflect.ValueOf(n).Elem().FieldByName("State")
	if !state.IsValid() {
		return ""
	}
	return stateName(int(state.Int()))
}

func stateName(s int) string {
	names := []string{"alive", "suspect", "dead", "left"}
	if s >= 0 && s < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state-%d", s)
}

// counter reads an atomic counter, which older versions keep in a bare number.
func counter(v reflect.Value) int64 {
	switch c := v.Addr().Interface().(type) {
	case *atomic.Int32:
		return int64(c.Load())
	case *atomic.Uint32:
		return int64(c.Load())
	case *int32:
		return int64(atomic.LoadInt32(c))
	case *uint32:
		return int64(atomic.LoadUint32(c))
	}
	panic(fmt.Sprintf("a counter of type %s", v.Type()))
}

// Broadcasts lists memberlist's own queue.
func Broadcasts(m *memberlist.Memberlist) []Queued {
	return Queue(Field(m, "broadcasts").Interface().(*memberlist.TransmitLimitedQueue))
}

// Queue lists a transmit-limited queue.
func Queue(q *memberlist.TransmitLimitedQueue) []Queued {
	lock := Field(q, "mu").Addr().Interface().(*sync.Mutex)
	lock.Lock()
	defer lock.Unlock()
	out := []Queued{}
	tree := Field(q, "tq").Interface().(*btree.BTree)
	if tree == nil {
		return out
	}
	tree.Ascend(func(item btree.Item) bool {
		v := reflect.ValueOf(item).Elem()
		out = append(out, Queued{
			Name:      Open(v, "name").String(),
			Transmits: int(Open(v, "transmits").Int()),
			Hex:       hex.EncodeToString(Open(v, "b").Interface().(memberlist.Broadcast).Message()),
		})
		return true
	})
	return out
}

// Incarnation is the local incarnation counter.
func Incarnation(m *memberlist.Memberlist) uint32 {
	return uint32(counter(Field(m, "incarnation")))
}
