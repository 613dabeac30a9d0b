// Command codecspeed measures memberlist's and serf's own codec, compression,
// encryption and queue, one operation after the other on one CPU, and prints
// JSON: the median of several rounds, with bytes and allocations.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

// op is one measured operation; size is the encoded size it works on.
type op struct {
	name string
	size int
	run  func()
}

type result struct {
	Name        string  `json:"name"`
	NsPerOp     float64 `json:"ns_per_op"`
	SpreadPct   float64 `json:"spread_percent"`
	BytesPerOp  int64   `json:"bytes_per_op"`
	AllocsPerOp int64   `json:"allocs_per_op"`
	Size        int     `json:"size"`
	MBPerSecond float64 `json:"mb_per_second"`
}

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	each := flag.Duration("time", 200*time.Millisecond, "time of one round of one operation")
	only := flag.String("only", "", "measure only operations whose name contains this")
	flag.Parse()
	if err := flag.Set("test.benchtime", each.String()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	runtime.GOMAXPROCS(1)
	dir, err := os.MkdirTemp("", "codecspeed")
	must(err)
	defer os.RemoveAll(dir)
	results := []result{}
	for _, o := range operations(dir) {
		if strings.Contains(o.name, *only) {
			results = append(results, measure(o, *rounds))
		}
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", " ")
	_ = enc.Encode(map[string]any{"go": runtime.Version(), "modules": modules(), "results": results})
}

func measure(o op, rounds int) result {
	var times []float64
	var last testing.BenchmarkResult
	for range max(rounds, 1) {
		last = testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o.run()
			}
		})
		times = append(times, float64(last.T.Nanoseconds())/float64(last.N))
	}
	slices.Sort(times)
	median := times[len(times)/2]
	return result{
		Name: o.name, NsPerOp: median, Size: o.size,
		SpreadPct:  100 * (times[len(times)-1] - times[0]) / median,
		BytesPerOp: last.AllocedBytesPerOp(), AllocsPerOp: last.AllocsPerOp(),
		MBPerSecond: float64(o.size) * 1000 / median,
	}
}

func modules() map[string]string {
	out := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasPrefix(m.Path, "github.com/hashicorp/") {
				out[m.Path] = m.Version
			}
		}
	}
	return out
}
