// Package serfconf holds the options of a serf node that `peer` and `feed` share.
package serfconf

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/serf/serf"

	"ruserf.dev/go-harness/internal/mlconf"
)

// Options configure a serf node. An absent option keeps serf's own default.
type Options struct {
	mlconf.Options

	Protocol         *uint8            `json:"protocol"`
	Tags             map[string]string `json:"tags"`
	SnapshotPath     string            `json:"snapshot_path"`
	RejoinAfterLeave bool              `json:"rejoin_after_leave"`
	KeyringFile      string            `json:"keyring_file"`
	// Merge is "" (no delegate), "allow" or "reject:<text>".
	Merge              string `json:"merge"`
	DisableCoordinates bool   `json:"disable_coordinates"`
	DisableNameRes     bool   `json:"disable_name_resolution"`
	ValidateNodeNames  bool   `json:"validate_node_names"`

	UserEventSizeLimit     *int `json:"user_event_size_limit"`
	QuerySizeLimit         *int `json:"query_size_limit"`
	QueryResponseSizeLimit *int `json:"query_response_size_limit"`
	QueryTimeoutMult       *int `json:"query_timeout_mult"`
	EventBuffer            *int `json:"event_buffer"`
	QueryBuffer            *int `json:"query_buffer"`
	MaxQueueDepth          *int `json:"max_queue_depth"`
	MinQueueDepth          *int `json:"min_queue_depth"`

	CoalesceMs           *int64           `json:"coalesce_period_ms"`
	QuiescentMs          *int64           `json:"quiescent_period_ms"`
	UserCoalesceMs       *int64           `json:"user_coalesce_period_ms"`
	UserQuiescentMs      *int64           `json:"user_quiescent_period_ms"`
	ReapIntervalMs       *int64           `json:"reap_interval_ms"`
	ReconnectIntervalMs  *int64           `json:"reconnect_interval_ms"`
	ReconnectTimeoutMs   *int64           `json:"reconnect_timeout_ms"`
	TombstoneTimeoutMs   *int64           `json:"tombstone_timeout_ms"`
	FlapTimeoutMs        *int64           `json:"flap_timeout_ms"`
	RecentIntentMs       *int64           `json:"recent_intent_timeout_ms"`
	BroadcastTimeoutMs   *int64           `json:"broadcast_timeout_ms"`
	LeavePropagateMs     *int64           `json:"leave_propagate_delay_ms"`
	SerfQueueCheckMs     *int64           `json:"serf_queue_check_interval_ms"`
	ReconnectOverridesMs map[string]int64 `json:"reconnect_timeout_overrides_ms"`
}

// Build makes serf's configuration; merges are reported through send.
func (c *Options) Build(send func(map[string]any), logs io.Writer, events chan<- serf.Event) (*serf.Config, error) {
	ml, err := c.Options.Build(logs)
	if err != nil {
		return nil, err
	}
	conf := serf.DefaultConfig()
	conf.Init()
	conf.MemberlistConfig = ml
	conf.NodeName = ml.Name
	conf.LogOutput = logs
	conf.EventCh = events
	for name, value := range c.Tags {
		conf.Tags[name] = value
	}
	conf.SnapshotPath = c.SnapshotPath
	conf.RejoinAfterLeave = c.RejoinAfterLeave
	conf.EnableNameConflictResolution = !c.DisableNameRes
	conf.DisableCoordinates = c.DisableCoordinates
	err = errors.Join(
		mlconf.SetNewer(conf, "ValidateNodeNames", c.ValidateNodeNames),
		mlconf.SetNewer(conf, "MsgpackUseNewTimeFormat", c.MsgpackNewTimeFormat),
	)
	if err != nil {
		return nil, err
	}
	if c.KeyringFile != "" {
		conf.KeyringFile = c.KeyringFile
		ring, err := mlconf.LoadKeyringFile(c.KeyringFile)
		if err != nil {
			return nil, err
		}
		if ring != nil {
			ml.Keyring = ring
		}
	}
	if c.Merge != "" {
		conf.Merge = &mergeDelegate{policy: c.Merge, send: send}
	}
	if len(c.ReconnectOverridesMs) > 0 {
		var overrides reconnectOverrider = reconnectOverrides(c.ReconnectOverridesMs)
		if err := mlconf.SetNewer(conf, "ReconnectTimeoutOverride", overrides); err != nil {
			return nil, err
		}
	}
	c.overrides(conf)
	return conf, nil
}

func (c *Options) overrides(conf *serf.Config) {
	mlconf.Set(&conf.ProtocolVersion, c.Protocol)
	mlconf.Set(&conf.UserEventSizeLimit, c.UserEventSizeLimit)
	mlconf.Set(&conf.QuerySizeLimit, c.QuerySizeLimit)
	mlconf.Set(&conf.QueryResponseSizeLimit, c.QueryResponseSizeLimit)
	mlconf.Set(&conf.QueryTimeoutMult, c.QueryTimeoutMult)
	mlconf.Set(&conf.EventBuffer, c.EventBuffer)
	mlconf.Set(&conf.QueryBuffer, c.QueryBuffer)
	mlconf.Set(&conf.MaxQueueDepth, c.MaxQueueDepth)
	mlconf.Set(&conf.MinQueueDepth, c.MinQueueDepth)
	mlconf.SetMs(&conf.CoalescePeriod, c.CoalesceMs)
	mlconf.SetMs(&conf.QuiescentPeriod, c.QuiescentMs)
	mlconf.SetMs(&conf.UserCoalescePeriod, c.UserCoalesceMs)
	mlconf.SetMs(&conf.UserQuiescentPeriod, c.UserQuiescentMs)
	mlconf.SetMs(&conf.ReapInterval, c.ReapIntervalMs)
	mlconf.SetMs(&conf.ReconnectInterval, c.ReconnectIntervalMs)
	mlconf.SetMs(&conf.ReconnectTimeout, c.ReconnectTimeoutMs)
	mlconf.SetMs(&conf.TombstoneTimeout, c.TombstoneTimeoutMs)
	mlconf.SetMs(&conf.FlapTimeout, c.FlapTimeoutMs)
	mlconf.SetMs(&conf.RecentIntentTimeout, c.RecentIntentMs)
	mlconf.SetMs(&conf.BroadcastTimeout, c.BroadcastTimeoutMs)
	mlconf.SetMs(&conf.LeavePropagateDelay, c.LeavePropagateMs)
	mlconf.SetMs(&conf.QueueCheckInterval, c.SerfQueueCheckMs)
}

// mergeDelegate reports each merge and allows or rejects it.
type mergeDelegate struct {
	policy string
	send   func(map[string]any)
}

func (m *mergeDelegate) NotifyMerge(members []*serf.Member) error {
	list := make([]any, 0, len(members))
	for _, member := range members {
		list = append(list, MemberJSON(*member))
	}
	m.send(map[string]any{"event": "merge", "members": list})
	if text, rejected := strings.CutPrefix(m.policy, "reject:"); rejected {
		return errors.New(text)
	}
	return nil
}

// reconnectOverrider is serf.ReconnectTimeoutOverrider, which older versions do not have.
type reconnectOverrider interface {
	ReconnectTimeout(m *serf.Member, timeout time.Duration) time.Duration
}

type reconnectOverrides map[string]int64

func (r reconnectOverrides) ReconnectTimeout(m *serf.Member, timeout time.Duration) time.Duration {
	if ms, ok := r[m.Name]; ok {
		return time.Duration(ms) * time.Millisecond
	}
	return timeout
}

// MemberJSON describes a member.
func MemberJSON(m serf.Member) map[string]any {
	tags := m.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return map[string]any{
		"name": m.Name, "addr": m.Addr.String(), "addr_len": len(m.Addr), "port": m.Port,
		"tags": tags, "status": m.Status.String(),
		"protocol_min": m.ProtocolMin, "protocol_max": m.ProtocolMax, "protocol_cur": m.ProtocolCur,
		"delegate_min": m.DelegateMin, "delegate_max": m.DelegateMax, "delegate_cur": m.DelegateCur,
	}
}

// EventJSON describes an event.
func EventJSON(event serf.Event) map[string]any {
	switch e := event.(type) {
	case serf.MemberEvent:
		members := make([]any, 0, len(e.Members))
		for _, m := range e.Members {
			members = append(members, MemberJSON(m))
		}
		return map[string]any{"event": e.Type.String(), "members": members}
	case serf.UserEvent:
		return map[string]any{
			"event": "user", "ltime": uint64(e.LTime), "name": e.Name, "payload": e.Payload,
			"coalesce": e.Coalesce,
		}
	case *serf.Query:
		source := ""
		if newer, ok := any(e).(interface{ SourceNode() string }); ok {
			source = newer.SourceNode()
		}
		return map[string]any{
			"event": "query", "ltime": uint64(e.LTime), "name": e.Name, "payload": e.Payload,
			"source": source, "remaining_ms": time.Until(e.Deadline()).Milliseconds(),
		}
	}
	return map[string]any{"event": "unknown", "text": event.String()}
}
