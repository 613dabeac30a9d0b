// Package counters keeps the metrics of memberlist and serf in memory.
package counters

import (
	"time"

	"github.com/hashicorp/go-metrics"
)

// Counters is an in-memory sink with one interval that never ends in practice,
// so counts only grow.
type Counters struct{ sink *metrics.InmemSink }

// Install makes the sink the process-wide one.
func Install() (*Counters, error) {
	sink := metrics.NewInmemSink(10000*time.Hour, 20000*time.Hour)
	conf := metrics.DefaultConfig("")
	conf.EnableHostname = false
	conf.EnableHostnameLabel = false
	conf.EnableRuntimeMetrics = false
	if _, err := metrics.NewGlobal(conf, sink); err != nil {
		return nil, err
	}
	return &Counters{sink}, nil
}

// Snapshot has the counters (sums), the gauges (last value) and the samples
// (count, mean, min, max).
func (c *Counters) Snapshot() map[string]any {
	count, gauge, sample := map[string]float64{}, map[string]float64{}, map[string]any{}
	for _, iv := range c.sink.Data() {
		iv.RLock()
		for name, v := range iv.Counters {
			count[name] += v.Sum
		}
		for name, v := range iv.Gauges {
			gauge[name] = float64(v.Value)
		}
		for name, v := range iv.PrecisionGauges {
			gauge[name] = v.Value
		}
		for name, v := range iv.Samples {
			sample[name] = map[string]any{
				"count": v.Count, "mean": v.Mean, "min": v.Min, "max": v.Max,
			}
		}
		iv.RUnlock()
	}
	return map[string]any{"counters": count, "gauges": gauge, "samples": sample}
}
