//go:build !armonmetrics

package counters

import "github.com/hashicorp/go-metrics"

type inmemSink = metrics.InmemSink

var (
	newInmemSink  = metrics.NewInmemSink
	defaultConfig = metrics.DefaultConfig
	newGlobal     = metrics.NewGlobal
)

func precisionGauges(iv *metrics.IntervalMetrics, into map[string]float64) {
	for name, v := range iv.PrecisionGauges {
		into[name] = v.Value
	}
}
