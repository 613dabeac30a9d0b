// Package counters keeps the metrics of memberlist and serf in memory.
package counters

import (
	"time"
)

// Counters is an in-memory sink with one interval that never ends in practice,
// so counts only grow.
type Counters struct{ sink *inmemSink }

// Install makes the sink the process-wide one.
func Install() (*Counters, error) {
	sink := newInmemSink(10000*time.Hour, 20000*time.Hour)
	conf := defaultConfig("")
	conf.EnableHostname = false
	conf.EnableHostnameLabel = false
	conf.EnableRuntimeMetrics = false
	if _, err := newGlobal(conf, sink); err != nil {
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
		precisionGauges(iv, gauge)
		for name, v := range iv.Samples {
			sample[name] = map[string]any{
				"count": v.Count, "mean": v.Mean, "min": v.Min, "max": v.Max,
			}
		}
		iv.RUnlock()
	}
	return map[string]any{"counters": count, "gauges": gauge, "samples": sample}
}
