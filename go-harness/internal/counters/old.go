//go:build armonmetrics

// Libraries from before 2026 count with this package, whose globals are its own.

package counters

import "github.com/armon/go-metrics"

type inmemSink = metrics.InmemSink

var (
	newInmemSink  = metrics.NewInmemSink
	defaultConfig = metrics.DefaultConfig
	newGlobal     = metrics.NewGlobal
)

// precisionGauges does nothing: this package has none.
func precisionGauges(*metrics.IntervalMetrics, map[string]float64) {}
