package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/serf/coordinate"
	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/lib"
)

type serfVector struct {
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
	Hex   string          `json:"hex"`
}

func checkSerf(dir string, r *report) {
	var vectors []serfVector
	load(filepath.Join(dir, "serf.json"), &vectors)
	fixed := serfMessages()
	for _, v := range vectors {
		got, ok := fixed[v.Name]
		if !ok {
			got, ok = serfSeries(v.Name)
		}
		switch {
		case strings.HasPrefix(v.Name, "snapshot_"):
			r.skip("serf.json", v.Name, "a line of a file written by a real run")
		case v.Name == "coordinate_update_sequence":
			why := replayCoordinates(v.Input)
			r.count("serf.json", v.Name, why == "", why)
		case !ok:
			r.skip("serf.json", v.Name, "no recipe")
		default:
			same := hex.EncodeToString(got) == v.Hex
			r.count("serf.json", v.Name, same, fmt.Sprintf("go makes %x", got))
		}
	}
}

// serfSeries makes the vectors that differ in one number.
func serfSeries(name string) ([]byte, bool) {
	if n, ok := strings.CutPrefix(name, "join_ltime_"); ok {
		ltime, err := strconv.ParseUint(n, 10, 64)
		must(err)
		return lib.SerfEncode(lib.JoinType, lib.Join{LTime: serf.LamportTime(ltime), Node: "n"}), true
	}
	if n, ok := strings.CutPrefix(name, "join_name_len_"); ok {
		size, err := strconv.Atoi(n)
		must(err)
		return lib.SerfEncode(lib.JoinType, lib.Join{LTime: 1, Node: strings.Repeat("x", size)}), true
	}
	if n, ok := strings.CutPrefix(name, "query_timeout_"); ok {
		timeout, err := time.ParseDuration(n)
		must(err)
		return lib.SerfEncode(lib.QueryType, lib.Query{Timeout: timeout}), true
	}
	return nil, false
}

func baseQuery() lib.Query {
	return lib.Query{
		LTime: 5, ID: 1234567, Addr: []byte{127, 0, 0, 1}, Port: 7946, SourceNode: "node-a",
		Timeout: 15 * time.Second, Name: "uptime", Payload: []byte("now"),
	}
}

func serfMessages() map[string][]byte {
	filterNode := lib.SerfFilter(0, []string{"foo", "bar"})
	filterTag := lib.SerfFilter(1, &lib.FilterTag{Tag: "role", Expr: "^web"})
	full, quiet, six := baseQuery(), baseQuery(), baseQuery()
	full.Filters, full.Flags, full.RelayFactor = [][]byte{filterNode, filterTag}, 1, 2
	quiet.Flags, quiet.Payload = 3, nil
	six.Addr = net.IPv6loopback
	ack := lib.QueryResponse{LTime: 5, ID: 1234567, From: "node-b", Flags: 1}
	response := ack
	response.Flags, response.Payload = 0, []byte("up 3 days")
	member := &serf.Member{
		Name: "node-a", Addr: net.IP{10, 0, 0, 1}, Port: 7946, Tags: map[string]string{"role": "web"},
		Status: serf.StatusAlive, ProtocolMin: 1, ProtocolMax: 5, ProtocolCur: 2,
		DelegateMin: 2, DelegateMax: 5, DelegateCur: 4,
	}
	conflict := lib.SerfEncode(lib.ConflictResponseType, member)
	wrapped := lib.QueryResponse{LTime: 9, ID: 77, From: "node-c", Payload: conflict}
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i % 16)
	}
	binaryPayload := make([]byte, 40)
	for i := range binaryPayload {
		binaryPayload[i] = byte(0xe0 + i)
	}
	const text = "AAECAwQFBgcICQoLDA0ODw=="
	userEvent := func(payload []byte, coalesce bool) []byte {
		return lib.SerfEncode(lib.UserEventType, lib.UserEventMsg{LTime: 3, Name: "deploy", Payload: payload, CC: coalesce})
	}
	keyRequest := func(k []byte) []byte {
		return lib.SerfEncode(lib.KeyRequestType, lib.KeyRequest{Key: k})
	}
	keyResponse := func(k lib.KeyResponse) []byte { return lib.SerfEncode(lib.KeyResponseType, &k) }
	relay := func(ip net.IP, port int, name string) []byte {
		return lib.SerfRelay(lib.QueryResponseType, net.UDPAddr{IP: ip, Port: port}, name, ack)
	}
	local := net.IP{127, 0, 0, 1}
	return map[string][]byte{
		"leave":       lib.SerfEncode(lib.LeaveType, lib.Leave{LTime: 7, Node: "node-a"}),
		"leave_prune": lib.SerfEncode(lib.LeaveType, lib.Leave{LTime: 300, Node: "node-a", Prune: true}),
		"join":        lib.SerfEncode(lib.JoinType, lib.Join{LTime: 1, Node: "node-a"}),
		"pushpull_minimal": lib.SerfEncode(lib.SerfPushPullType, lib.SerfPushPull{
			LTime: 1, StatusLTimes: map[string]serf.LamportTime{"node-a": 0}, LeftMembers: []string{},
			EventLTime: 1, Events: make([]*lib.UserEvents, 4), QueryLTime: 1,
		}),
		"pushpull_full": lib.SerfEncode(lib.SerfPushPullType, lib.SerfPushPull{
			LTime: 42, StatusLTimes: map[string]serf.LamportTime{"foo": 15}, LeftMembers: []string{"foo"},
			EventLTime: 50, QueryLTime: 100,
			Events: []*lib.UserEvents{nil, {LTime: 45, Events: []lib.UserEvent{
				{Name: "deploy", Payload: []byte("abc")}, {Name: "deploy"}, {Name: "x", Payload: []byte{}},
			}}, nil, nil},
		}),
		"pushpull_nil_members":      lib.SerfEncode(lib.SerfPushPullType, lib.SerfPushPull{}),
		"user_event":                userEvent([]byte("v1.2"), true),
		"user_event_nil_payload":    userEvent(nil, false),
		"user_event_empty_payload":  userEvent([]byte{}, false),
		"user_event_binary_payload": lib.SerfEncode(lib.UserEventType, lib.UserEventMsg{LTime: 3, Name: "b", Payload: binaryPayload}),
		"filter_node":               filterNode,
		"filter_tag":                filterTag,
		"query_plain":               lib.SerfEncode(lib.QueryType, baseQuery()),
		"query_filters_ack_relay":   lib.SerfEncode(lib.QueryType, full),
		"query_ack_nobroadcast":     lib.SerfEncode(lib.QueryType, quiet),
		"query_ipv6":                lib.SerfEncode(lib.QueryType, six),
		"query_response":            lib.SerfEncode(lib.QueryResponseType, response),
		"query_ack":                 lib.SerfEncode(lib.QueryResponseType, ack),
		"conflict_response":         conflict,
		"conflict_response_unknown": lib.SerfEncode(lib.ConflictResponseType, (*serf.Member)(nil)),
		"conflict_response_wrapped": lib.SerfEncode(lib.QueryResponseType, wrapped),
		"key_request_16":            keyRequest(key[:16]),
		"key_request_32":            keyRequest(key),
		"key_request_empty":         keyRequest([]byte{}),
		"key_response_ok":           keyResponse(lib.KeyResponse{Result: true}),
		"key_response_err":          keyResponse(lib.KeyResponse{Message: "requested key is not in the keyring"}),
		"key_response_list":         keyResponse(lib.KeyResponse{Result: true, Keys: []string{text}, PrimaryKey: text}),
		"relay_ack":                 relay(local, 7946, "node-a"),
		"relay_ack_ipv6_lowport":    relay(net.IPv6loopback, 80, ""),
		"relay_ack_highport":        relay(local, 50000, "node-a"),
		"tags_v2_role":              []byte("web"),
		"tags_v4_one":               prefixed(0xff, map[string]string{"role": "web"}),
		"tags_v4_empty":             prefixed(0xff, map[string]string{}),
		"tags_v4_nil":               prefixed(0xff, map[string]string(nil)),
		"tags_v4_emptyvalue":        prefixed(0xff, map[string]string{"segment": ""}),
		"tags_v4_long":              prefixed(0xff, map[string]string{"id": "dd8a91f6-ca32-30e0-983c-8f309d653045"}),
		"ping_payload_origin":       prefixed(1, coordinate.NewCoordinate(coordinate.DefaultConfig())),
		"ping_payload": prefixed(1, &coordinate.Coordinate{
			Vec:   []float64{0.34, 0.68, 0.003, 0.01, 0.05, 0.1, 0.34, -0.06},
			Error: 0.5, Adjustment: 0.1, Height: 0.02,
		}),
	}
}

// prefixed encodes as serf does for tags and for the payload of an ack.
func prefixed(first byte, v any) []byte {
	var b bytes.Buffer
	b.WriteByte(first)
	must(codec.NewEncoder(&b, &codec.MsgpackHandle{}).Encode(v))
	return b.Bytes()
}
