package main

import (
	"io"
	"net"
	"reflect"
	"time"

	"github.com/hashicorp/memberlist"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/mocknet"
)

// node makes a memberlist whose background work never runs.
func node(in map[string]any, network *mocknet.Network) *memberlist.Memberlist {
	conf := memberlist.DefaultLANConfig()
	conf.Name = "sender"
	conf.LogOutput = io.Discard
	conf.Transport = network.Attach("10.0.0.1", 7946)
	conf.ProbeInterval, conf.GossipInterval, conf.PushPullInterval = 0, 0, 0
	conf.EnableCompression = in["enable_compression"].(bool)
	conf.ProtocolVersion = uint8(in["protocol_version"].(float64))
	conf.Label = in["label"].(string)
	if key, ok := in["key_text"].(string); ok {
		conf.SecretKey = []byte(key)
	}
	m, err := memberlist.Create(conf)
	must(err)
	return m
}

// sentPacket lets memberlist send one message and takes it from the wire.
func sentPacket(in map[string]any) []byte {
	network := mocknet.New()
	m := node(in, network)
	defer func() { _ = m.Shutdown() }()
	to := memberlist.Address{Addr: "10.0.0.2:7946", Name: "receiver"}
	peer := &memberlist.Node{Name: "receiver", PMax: uint8(in["target_pmax"].(float64))}
	withNonceOf(in, func() { must(lib.RawSendMsgPacket(m, to, peer, binary(in["msg"]))) })
	return network.Take()[0].Bytes
}

// sentStream lets memberlist write one message on a stream and takes what it wrote.
func sentStream(in map[string]any) []byte {
	m := node(in, mocknet.New())
	defer func() { _ = m.Shutdown() }()
	label := in["label"].(string)
	near, far := net.Pipe()
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	_ = near.SetDeadline(time.Now().Add(10 * time.Second))
	must(memberlist.AddLabelHeaderToStream(near, label))
	withNonceOf(in, func() { must(lib.RawSendMsgStream(m, near, streamMessage(in), label)) })
	_ = near.Close()
	return <-got
}

func streamMessage(in map[string]any) []byte {
	switch in["what"] {
	case "ping":
		return message("ping", in["ping"].(map[string]any))
	case "ack":
		return lib.Encode(lib.AckRespMsg, &lib.AckResp{SeqNo: 1})
	case "err":
		return lib.Encode(lib.ErrMsg, &lib.ErrResp{Error: "boom"})
	case "user":
		payload := in["payload_text"].(string)
		return append(lib.Encode(lib.UserMsg, &lib.UserMsgHeader{UserMsgLen: len(payload)}), payload...)
	case "pp":
		rows, state := in["nodes"].([]any), in["user_state_text"].(string)
		header := &lib.PushPullHeader{Nodes: len(rows), UserStateLen: len(state), Join: in["join"].(bool)}
		out := lib.Encode(lib.PushPullMsg, header)
		for _, row := range rows {
			n := &lib.PushNodeState{}
			fill(reflect.ValueOf(n).Elem(), row.(map[string]any))
			out = append(out, lib.Encode(0, n)[1:]...)
		}
		return append(out, state...)
	}
	panic("unknown stream vector")
}

func withNonceOf(in map[string]any, f func()) {
	if nonce, ok := in["nonce"].(string); ok {
		lib.WithNonce(binary(nonce), f)
		return
	}
	f()
}
