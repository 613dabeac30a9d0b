package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"ruserf.dev/go-harness/internal/lib"
)

type vector struct {
	Name  string          `json:"name"`
	Kind  string          `json:"kind"`
	Input json.RawMessage `json:"input"`
	Hex   string          `json:"hex"`
}

// kinds finds the message of a vector by the beginning of its name.
var kinds = []struct {
	prefix  string
	msgType int // -1: a part without a type byte
	make    func() any
}{
	{"ping", int(lib.PingMsg), func() any { return &lib.Ping{} }},
	{"indirect_ping", int(lib.IndirectPingMsg), func() any { return &lib.IndirectPingReq{} }},
	{"nack", int(lib.NackRespMsg), func() any { return &lib.NackResp{} }},
	{"ack", int(lib.AckRespMsg), func() any { return &lib.AckResp{} }},
	{"err", int(lib.ErrMsg), func() any { return &lib.ErrResp{} }},
	{"suspect", int(lib.SuspectMsg), func() any { return &lib.Suspect{} }},
	{"dead", int(lib.DeadMsg), func() any { return &lib.Dead{} }},
	{"alive", int(lib.AliveMsg), func() any { return &lib.Alive{} }},
	{"pushpull_header", int(lib.PushPullMsg), func() any { return &lib.PushPullHeader{} }},
	{"pushpull_nodestate", -1, func() any { return &lib.PushNodeState{} }},
	{"user_stream_header", int(lib.UserMsg), func() any { return &lib.UserMsgHeader{} }},
}

func checkMemberlist(dir string, r *report) {
	var vectors []vector
	load(filepath.Join(dir, "memberlist.json"), &vectors)
	known := map[string][]byte{}
	for _, v := range vectors {
		known[v.Name], _ = hex.DecodeString(v.Hex)
	}
	for _, v := range vectors {
		got, why := remake(v, known)
		if why != "" {
			r.skip("memberlist.json", v.Name, why)
			continue
		}
		same := hex.EncodeToString(got) == v.Hex
		r.count("memberlist.json", v.Name, same, fmt.Sprintf("go makes %x", got))
	}
}

func remake(v vector, known map[string][]byte) (out []byte, why string) {
	var in map[string]any
	must(json.Unmarshal(v.Input, &in))
	switch v.Kind {
	case "message", "stream-part":
		if v.Name == "user_packet" {
			return append([]byte{lib.UserMsg}, binary(in["payload"])...), ""
		}
		return message(v.Name, in), ""
	case "message-prefix":
		node := strings.Repeat(in["Node_char"].(string), int(in["Node_len"].(float64)))
		whole := lib.Encode(lib.SuspectMsg, &lib.Suspect{Node: node})
		return whole[:min(48, len(whole))], ""
	case "compound":
		if n, ok := in["n"].(float64); ok {
			var parts [][]byte
			for i := range int(n) {
				parts = append(parts, []byte{lib.UserMsg, byte(i)})
			}
			all := lib.Compounds(parts)
			return all[len(all)-1], ""
		}
		var parts [][]byte
		for _, p := range in["parts"].([]any) {
			parts = append(parts, binary(p))
		}
		return lib.Compound(parts), ""
	case "compress":
		return lib.CompressMessage(rawOf(in, known)), ""
	case "encrypt":
		version := uint8(v.Name[len("encrypt_v")] - '0')
		lib.WithNonce(binary(in["nonce"]), func() {
			out = lib.Encrypt(version, []byte(in["key_text"].(string)), binary(in["plaintext"]), binary(in["aad"]))
		})
		return out, ""
	case "packet":
		return sentPacket(in), ""
	case "stream":
		return sentStream(in), ""
	}
	return nil, "unknown kind " + v.Kind
}

// message fills the mirror struct from the input and encodes it.
func message(name string, in map[string]any) []byte {
	for _, k := range kinds {
		if !strings.HasPrefix(name, k.prefix) {
			continue
		}
		msg := k.make()
		fill(reflect.ValueOf(msg).Elem(), in)
		if k.msgType < 0 {
			return lib.Encode(0, msg)[1:]
		}
		return lib.Encode(uint8(k.msgType), msg)
	}
	panic("no message for " + name)
}

func fill(to reflect.Value, in map[string]any) {
	for key, value := range in {
		field := to.FieldByName(key)
		if !field.IsValid() {
			panic("no field " + key)
		}
		switch x := value.(type) {
		case nil:
		case bool:
			field.SetBool(x)
		case string:
			if field.Kind() == reflect.String {
				field.SetString(x)
			} else {
				field.SetBytes(binary(x))
			}
		case float64:
			if field.CanInt() {
				field.SetInt(int64(x))
			} else {
				field.SetUint(uint64(x))
			}
		}
	}
}

// rawOf is the content of a compress vector.
func rawOf(in map[string]any, known map[string][]byte) []byte {
	if inner, ok := in["inner"].(string); ok {
		return known[inner]
	}
	if _, ok := in["generator"]; ok {
		return pseudoRandom(8192)
	}
	return binary(in["raw"])
}

// pseudoRandom is the generator written in the vectors.
func pseudoRandom(n int) []byte {
	out := make([]byte, n)
	x := uint32(1)
	for i := range out {
		x = (1103515245*x + 12345) & 0x7fffffff
		out[i] = byte(x >> 16)
	}
	return out
}

func binary(v any) []byte {
	text, _ := v.(string)
	b, err := hex.DecodeString(strings.TrimPrefix(text, "hex:"))
	must(err)
	return b
}
