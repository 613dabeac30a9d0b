package serfconf

import (
	"sync"

	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/peek"
)

// StatusLTimes has the Lamport time of each serf member's status.
func StatusLTimes(s *serf.Serf) map[string]uint64 {
	lock := peek.Field(s, "memberLock").Addr().Interface().(*sync.RWMutex)
	lock.RLock()
	defer lock.RUnlock()
	out := map[string]uint64{}
	for it := peek.Field(s, "members").MapRange(); it.Next(); {
		out[it.Key().String()] = peek.Open(it.Value().Elem(), "statusLTime").Uint()
	}
	return out
}
