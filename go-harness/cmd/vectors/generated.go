package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/serf/coordinate"

	"ruserf.dev/go-harness/internal/lib"
	"ruserf.dev/go-harness/internal/payload"
)

// lzwVectors has inputs by recipe (so that the file stays small where the input
// is long) and the compress message Go makes of them.
func lzwVectors() any {
	type entry struct {
		Name   string `json:"name"`
		Recipe string `json:"recipe"`
		Count  int    `json:"count"`
		Hex    string `json:"hex"`
	}
	out := []entry{}
	add := func(name, recipe string, count int, raw []byte) {
		msg := lib.CompressMessage(raw)
		again, err := lib.DecompressPayload(msg[1:])
		must(err)
		if !bytes.Equal(again, raw) {
			panic("lzw does not round-trip")
		}
		out = append(out, entry{name, recipe, count, hex.EncodeToString(msg)})
	}
	for _, n := range []int{0, 1, 2, 3, 254, 255, 256, 257, 258, 511, 512, 1023, 4096, 20000} {
		add(fmt.Sprintf("zeros_%d", n), "zeros", n, make([]byte, n))
	}
	for _, n := range []int{16, 255, 1400, 3837, 3838, 3839, 3840, 3841, 8192, 20000} {
		add(fmt.Sprintf("random_%d", n), "x=1; repeat: x=(1103515245*x+12345) & 0x7fffffff; byte=(x>>16)&0xff", n, pseudoRandom(n))
	}
	for _, n := range []int{256, 1000, 5000} {
		raw := make([]byte, n)
		for i := range raw {
			raw[i] = byte(i)
		}
		add(fmt.Sprintf("counting_%d", n), "byte i = i & 0xff", n, raw)
	}
	for _, n := range []int{100, 5000, 30000} {
		raw := make([]byte, n)
		for i := range raw {
			raw[i] = "ab"[i/7%2]
		}
		add(fmt.Sprintf("runs_of_seven_%d", n), "byte i = 'a' if (i/7) is even else 'b'", n, raw)
	}
	return out
}

// timingVectors are memberlist's scaling rules as numbers.
func timingVectors() any {
	sizes := []int{0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 20, 31, 32, 33, 50, 64, 65, 99, 100, 128, 129, 500, 999, 1000, 4096, 10000, 100000}
	suspicion, retransmit, scale, remaining := []any{}, []any{}, []any{}, []any{}
	for _, n := range sizes {
		for _, mult := range []int{3, 4, 6} {
			for _, interval := range []time.Duration{time.Second, 5 * time.Second, 70 * time.Millisecond} {
				suspicion = append(suspicion, map[string]any{
					"mult": mult, "n": n, "interval_ns": interval,
					"timeout_ns": lib.SuspicionTimeout(mult, n, interval),
				})
			}
		}
		for _, mult := range []int{2, 3, 4} {
			retransmit = append(retransmit, map[string]any{"mult": mult, "n": n, "limit": lib.RetransmitLimit(mult, n)})
		}
		for _, interval := range []time.Duration{15 * time.Second, 30 * time.Second} {
			scale = append(scale, map[string]any{"interval_ns": interval, "n": n, "scaled_ns": lib.PushPullScale(interval, n)})
		}
	}
	for _, k := range []int32{1, 2, 3, 4} {
		for n := int32(0); n <= k; n++ {
			for _, elapsed := range []time.Duration{0, 999 * time.Millisecond, 2 * time.Second, 12345678 * time.Nanosecond, 30 * time.Second} {
				for _, bounds := range [][2]time.Duration{{2 * time.Second, 30 * time.Second}, {4164 * time.Millisecond, 24984 * time.Millisecond}} {
					remaining = append(remaining, map[string]any{
						"confirmations": n, "k": k, "elapsed_ns": elapsed, "min_ns": bounds[0], "max_ns": bounds[1],
						"remaining_ns": lib.RemainingSuspicionTime(n, k, elapsed, bounds[0], bounds[1]),
					})
				}
			}
		}
	}
	return map[string]any{
		"suspicion_timeout": suspicion, "retransmit_limit": retransmit,
		"push_pull_scale": scale, "remaining_suspicion_time": remaining,
	}
}

// bitsOf has a coordinate as IEEE 754 bits, so that nothing is lost in text.
type bitsOf struct {
	Vec        []string `json:"vec"`
	Error      string   `json:"error"`
	Adjustment string   `json:"adjustment"`
	Height     string   `json:"height"`
}

func bits(c *coordinate.Coordinate) bitsOf {
	text := func(f float64) string { return fmt.Sprintf("%016x", math.Float64bits(f)) }
	b := bitsOf{Error: text(c.Error), Adjustment: text(c.Adjustment), Height: text(c.Height)}
	for _, f := range c.Vec {
		b.Vec = append(b.Vec, text(f))
	}
	return b
}

// coordinateVectors runs a client against three others for 100 updates. The
// client starts away from the origin, so no random direction is drawn.
func coordinateVectors() any {
	client, err := coordinate.NewClient(coordinate.DefaultConfig())
	must(err)
	start := coordinate.NewCoordinate(coordinate.DefaultConfig())
	start.Vec[0], start.Vec[3] = 0.004, -0.001
	must(client.SetCoordinate(start))
	random := pseudoRandom(4000)
	steps := []any{}
	for i := range 100 {
		other := coordinate.NewCoordinate(coordinate.DefaultConfig())
		for d := range other.Vec {
			other.Vec[d] = (float64(random[i*10+d]) - 128) / 8000
		}
		other.Error = 0.1 + float64(random[i*10+8])/400
		other.Height = 0.0001 + float64(random[i*10+9])/100000
		rtt := time.Duration(1000+int(random[2000+i])*300) * time.Microsecond
		name := fmt.Sprintf("n%d", i%3)
		after, err := client.Update(name, other, rtt)
		must(err)
		steps = append(steps, map[string]any{
			"node": name, "other": bits(other), "rtt_ns": rtt, "after": bits(after),
			"distance_ns": client.DistanceTo(other),
		})
	}
	return map[string]any{"start": bits(start), "steps": steps}
}

// replayCoordinates runs the recorded sequence of serf.json again.
func replayCoordinates(input json.RawMessage) string {
	type coord struct {
		Vec        []float64 `json:"vec"`
		Error      float64   `json:"error"`
		Adjustment float64   `json:"adjustment"`
		Height     float64   `json:"height"`
		Bits       bitsOf    `json:"bits"`
	}
	var in struct {
		Start coord `json:"start"`
		Steps []struct {
			Node     string        `json:"node"`
			Other    coord         `json:"other"`
			After    coord         `json:"after"`
			RTT      time.Duration `json:"rtt_ns"`
			Distance time.Duration `json:"distance_to_other_ns"`
		} `json:"steps"`
	}
	must(json.Unmarshal(input, &in))
	goCoord := func(c coord) *coordinate.Coordinate {
		return &coordinate.Coordinate{Vec: c.Vec, Error: c.Error, Adjustment: c.Adjustment, Height: c.Height}
	}
	client, err := coordinate.NewClient(coordinate.DefaultConfig())
	must(err)
	must(client.SetCoordinate(goCoord(in.Start)))
	for i, step := range in.Steps {
		after, err := client.Update(step.Node, goCoord(step.Other), step.RTT)
		must(err)
		if fmt.Sprint(bits(after)) != fmt.Sprint(step.After.Bits) {
			return fmt.Sprintf("step %d gives %v", i, bits(after))
		}
		if d := client.DistanceTo(goCoord(step.Other)); d != step.Distance {
			return fmt.Sprintf("step %d gives a distance of %d", i, d)
		}
	}
	return ""
}

// payloadVectors are typed payloads in both specs of MessagePack.
func payloadVectors() any {
	out := []any{}
	for _, value := range payload.Samples() {
		for _, writeExt := range []bool{false, true} {
			raw, err := payload.Encode(value, writeExt)
			must(err)
			out = append(out, map[string]any{
				"value": value, "new_spec": writeExt, "hex": hex.EncodeToString(raw),
			})
		}
	}
	return out
}
