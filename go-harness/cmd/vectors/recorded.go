package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/mocknet"
	"ruserf.dev/go-harness/internal/unwrap"
)

// examplesMax is how many captures of one kind are kept.
const examplesMax = 2

type recording struct {
	// Contains lists the messages inside, such as "alive" or "user/query".
	Contains []string         `json:"contains"`
	Capture  string           `json:"capture"`
	Label    string           `json:"label"`
	Hex      string           `json:"hex"`
	Layers   []string         `json:"layers"`
	Messages []map[string]any `json:"messages"`
}

// wanted is every message the library sends in the story of record.
var wanted = []string{
	"ping", "indirect-ping", "ack", "nack", "suspect", "alive", "dead", "push-pull", "error",
	"stream ping", "reply ack", "reply push-pull", "stream user",
	"user/join", "user/leave", "user/user-event", "user/query", "user/query-response",
	"user/relay", "push-pull/push-pull",
}

// recorded writes what real nodes sent (when the file is absent or to be
// written), and reads the file back with Go: each capture must be understood and
// encode to the same bytes, which proves the mirror structs.
func recorded(path string, write bool, r *report) {
	file := filepath.Base(path)
	fresh := record()
	found := map[string]bool{}
	for _, rec := range fresh {
		for _, name := range rec.Contains {
			found[name] = true
		}
	}
	for _, name := range wanted {
		r.count(file+" (fresh)", name, found[name], "was not seen in a new recording")
	}
	if _, err := os.Stat(path); write && err != nil {
		raw, err := json.MarshalIndent(fresh, "", " ")
		must(err)
		must(os.WriteFile(path, append(raw, '\n'), 0o644))
	}
	var kept []recording
	load(path, &kept)
	for i, rec := range kept {
		raw, err := hex.DecodeString(rec.Hex)
		must(err)
		res := openCapture(rec.Capture, rec.Label, raw)
		r.count(file, fmt.Sprintf("%d %v", i, rec.Contains), res.All(), res.Error)
	}
}

func openCapture(kind, label string, raw []byte) *unwrap.Result {
	o := unwrap.Options{Label: label}
	if kind == "packet" {
		return unwrap.Packet(raw, o)
	}
	return unwrap.Stream(raw, o, kind == "reply")
}

const label = "rec"

// record lets four serf nodes live through everything that makes messages.
func record() []recording {
	net := mocknet.New()
	keep := newKeeper()
	a, _ := serfNode(net, "a", 1)
	b, _ := serfNode(net, "b", 2)
	c, cNet := serfNode(net, "c", 3)
	d, dNet := serfNode(net, "d", 4)
	for _, s := range []*serf.Serf{b, c, d} {
		_, err := s.Join([]string{"10.0.0.1:7946"}, false)
		must(err)
	}
	keep.run(net, 500*time.Millisecond)
	must(a.UserEvent("deploy", []byte("v1.2"), true))
	must(b.UserEvent("empty", nil, false))
	params := a.DefaultQueryParams()
	params.RequestAck, params.RelayFactor, params.Timeout = true, 2, 400*time.Millisecond
	params.FilterNodes, params.FilterTags = []string{"b", "c"}, map[string]string{"role": "^w"}
	_, err := a.Query("uptime", []byte("now"), params)
	must(err)
	keep.run(net, 600*time.Millisecond)
	_, err = a.KeyManager().ListKeys()
	keep.note(err)
	must(b.SetTags(map[string]string{"role": "web", "zone": "eu"}))
	for _, n := range a.Memberlist().Members() {
		if n.Name == "b" {
			must(a.Memberlist().SendReliable(n, []byte("hello")))
		}
	}
	conn, err := net.Attach("10.0.0.9", 7946).DialTimeout("10.0.0.1:7946", time.Second)
	must(err)
	must(memberlist.AddLabelHeaderToStream(conn, label))
	_, err = conn.Write([]byte{10, 0, 0, 0, 1, 1})
	must(err)
	_, _ = io.ReadAll(conn)
	cNet.SetDeaf(true)
	keep.run(net, 1500*time.Millisecond)
	cNet.SetDeaf(false)
	dNet.Detach()
	must(d.Shutdown())
	keep.run(net, 4*time.Second)
	_ = a.RemoveFailedNodePrune("d")
	must(b.Leave())
	keep.run(net, 500*time.Millisecond)
	for _, s := range []*serf.Serf{a, b, c} {
		_ = s.Shutdown()
	}
	return keep.list
}

func serfNode(net *mocknet.Network, name string, host int) (*serf.Serf, *mocknet.Transport) {
	t := net.Attach(fmt.Sprintf("10.0.0.%d", host), 7946)
	ml := memberlist.DefaultLocalConfig()
	ml.Transport, ml.LogOutput, ml.Label = t, io.Discard, label
	ml.GossipInterval, ml.ProbeInterval = 20*time.Millisecond, 200*time.Millisecond
	ml.ProbeTimeout, ml.PushPullInterval = 60*time.Millisecond, time.Second
	events := make(chan serf.Event, 1024)
	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName, conf.MemberlistConfig, conf.LogOutput = name, ml, io.Discard
	conf.Tags["role"] = "web"
	conf.EventBuffer = 4
	conf.EventCh = events
	conf.LeavePropagateDelay = 100 * time.Millisecond
	go func() {
		for e := range events {
			if q, ok := e.(*serf.Query); ok {
				_ = q.Respond([]byte("up 3 days"))
			}
		}
	}()
	s, err := serf.Create(conf)
	must(err)
	return s, t
}

// keeper keeps the first captures of each kind.
type keeper struct {
	list  []recording
	count map[string]int
}

func newKeeper() *keeper { return &keeper{count: map[string]int{}} }

func (k *keeper) note(error) {}

func (k *keeper) run(net *mocknet.Network, d time.Duration) {
	time.Sleep(d)
	for _, c := range net.Take() {
		res := openCapture(c.Kind, label, c.Bytes)
		names := contents(c.Kind, res)
		fresh := false
		for _, name := range names {
			fresh = fresh || k.count[name] < examplesMax
		}
		// The malformed stream that draws an error reply is no example.
		if !fresh || !res.All() && strings.HasPrefix(c.From, "10.0.0.9") {
			continue
		}
		for _, name := range names {
			k.count[name]++
		}
		k.list = append(k.list, recording{
			Contains: names, Capture: c.Kind, Label: label, Hex: hex.EncodeToString(c.Bytes),
			Layers: res.Layers, Messages: res.Messages,
		})
	}
}

func contents(kind string, res *unwrap.Result) []string {
	set := map[string]bool{}
	for _, m := range res.Messages {
		name := fmt.Sprint(m["type"])
		set[name] = true
		if kind != "packet" {
			set[kind+" "+name] = true
		}
		if inner, ok := m["serf"].(map[string]any); ok {
			set[name+"/"+fmt.Sprint(inner["type"])] = true
		}
	}
	names := []string{}
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
