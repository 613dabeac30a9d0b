package main

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"ruserf.dev/go-harness/internal/lib"
)

type decodeCase struct {
	Name   string `json:"name"`
	Struct string `json:"struct"`
	Hex    string `json:"hex"`
	Want   struct {
		OK     bool    `json:"ok"`
		Result string  `json:"result"`
		Error  *string `json:"error"`
	} `json:"go_msgpack_v2"`
}

func checkDecodeCases(dir string, r *report) {
	var cases []decodeCase
	load(filepath.Join(dir, "decode-cases.json"), &cases)
	targets := map[string]func() any{
		"suspect":        func() any { return &lib.Suspect{} },
		"ackResp":        func() any { return &lib.AckResp{} },
		"alive":          func() any { return &lib.Alive{} },
		"ping":           func() any { return &lib.Ping{} },
		"pushPullHeader": func() any { return &lib.PushPullHeader{} },
		"compress":       func() any { return &lib.Compress{} },
	}
	for _, c := range cases {
		target, ok := targets[c.Struct]
		if !ok {
			r.skip("decode-cases.json", c.Name, "no target "+c.Struct)
			continue
		}
		raw, err := hex.DecodeString(c.Hex)
		must(err)
		out := target()
		err = lib.Decode(raw, out)
		text := fmt.Sprintf("%#v", reflect.ValueOf(out).Elem().Interface())
		_, text, _ = strings.Cut(text, "{")
		_, want, _ := strings.Cut(c.Want.Result, "{")
		got, wantErr := "", ""
		if err != nil {
			got = err.Error()
		}
		if c.Want.Error != nil {
			wantErr = *c.Want.Error
		}
		same := (err == nil) == c.Want.OK && text == want && got == wantErr
		r.count("decode-cases.json", c.Name, same, fmt.Sprintf("go gives {%s %s", text, got))
	}
}

// checkCaptures names what was taken from a running agent and cannot be made again.
func checkCaptures(dir string, r *report) {
	var vectors []struct {
		Name      string `json:"name"`
		Direction string `json:"direction"`
	}
	load(filepath.Join(dir, "rpc.json"), &vectors)
	name := fmt.Sprintf("%d frames", len(vectors))
	r.skip("rpc.json", name, "captured from a running agent; sequence numbers and times differ each run")
}
