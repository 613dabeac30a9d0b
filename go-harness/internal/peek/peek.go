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
	"github.com/hashicorp/serf/serf"
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
	return open(reflect.ValueOf(ptr).Elem(), name)
}

func open(v reflect.Value, name string) reflect.Value {
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
		node := open(rec, "Node").Interface().(memberlist.Node)
		row := Row{
			Name: node.Name, Addr: node.Addr.String(), AddrHex: hex.EncodeToString(node.Addr),
			Port: node.Port, MetaHex: hex.EncodeToString(node.Meta),
			State:       StateName(open(rec, "State").Interface().(memberlist.NodeStateType)),
			Incarnation: uint32(open(rec, "Incarnation").Uint()),
			StateAgeMs:  time.Since(open(rec, "StateChange").Interface().(time.Time)).Milliseconds(),
			Vsn:         [6]uint8{node.PMin, node.PMax, node.PCur, node.DMin, node.DMax, node.DCur},
		}
		if timer := timers.MapIndex(reflect.ValueOf(node.Name)); timer.IsValid() && !timer.IsNil() {
			row.Suspicion = true
			row.Confirmations = open(timer.Elem(), "n").Addr().Interface().(*atomic.Int32).Load()
		}
		rows = append(rows, row)
	}
	return rows
}

// StateName names a node's state in lower case.
func StateName(s memberlist.NodeStateType) string {
	names := []string{"alive", "suspect", "dead", "left"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state-%d", s)
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
			Name:      open(v, "name").String(),
			Transmits: int(open(v, "transmits").Int()),
			Hex:       hex.EncodeToString(open(v, "b").Interface().(memberlist.Broadcast).Message()),
		})
		return true
	})
	return out
}

// Incarnation is the local incarnation counter.
func Incarnation(m *memberlist.Memberlist) uint32 {
	return Field(m, "incarnation").Addr().Interface().(*atomic.Uint32).Load()
}

// StatusLTimes has the Lamport time of each serf member's status.
func StatusLTimes(s *serf.Serf) map[string]uint64 {
	lock := Field(s, "memberLock").Addr().Interface().(*sync.RWMutex)
	lock.RLock()
	defer lock.RUnlock()
	out := map[string]uint64{}
	for it := Field(s, "members").MapRange(); it.Next(); {
		out[it.Key().String()] = open(it.Value().Elem(), "statusLTime").Uint()
	}
	return out
}
