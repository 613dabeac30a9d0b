// Package mlconf holds the options that `peer` and `mlpeer` share: those of
// memberlist. An absent option keeps memberlist's own default.
package mlconf

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"time"

	"github.com/hashicorp/memberlist"
)

// Options are the memberlist part of a peer's configuration.
type Options struct {
	Name          string `json:"name"`
	Bind          string `json:"bind"`
	Port          int    `json:"port"`
	AdvertiseAddr string `json:"advertise_addr"`
	AdvertisePort int    `json:"advertise_port"`
	// Profile is lan (default), wan or local.
	Profile string `json:"profile"`

	Key            string   `json:"key"`
	Keyring        []string `json:"keyring"`
	VerifyIncoming *bool    `json:"verify_incoming"`
	VerifyOutgoing *bool    `json:"verify_outgoing"`

	Label                 string   `json:"label"`
	SkipInboundLabelCheck bool     `json:"skip_inbound_label_check"`
	Compression           *bool    `json:"compression"`
	MemberlistProtocol    *uint8   `json:"memberlist_protocol"`
	CIDRsAllowed          []string `json:"cidrs_allowed"`
	RequireNodeNames      bool     `json:"require_node_names"`
	DisableTCPPings       bool     `json:"disable_tcp_pings"`

	ProbeIntervalMs       *int64 `json:"probe_interval_ms"`
	ProbeTimeoutMs        *int64 `json:"probe_timeout_ms"`
	GossipIntervalMs      *int64 `json:"gossip_interval_ms"`
	PushPullIntervalMs    *int64 `json:"push_pull_interval_ms"`
	TCPTimeoutMs          *int64 `json:"tcp_timeout_ms"`
	GossipToTheDeadMs     *int64 `json:"gossip_to_the_dead_ms"`
	DeadNodeReclaimMs     *int64 `json:"dead_node_reclaim_ms"`
	QueueCheckIntervalMs  *int64 `json:"queue_check_interval_ms"`
	SuspicionMult         *int   `json:"suspicion_mult"`
	SuspicionMaxMult      *int   `json:"suspicion_max_timeout_mult"`
	RetransmitMult        *int   `json:"retransmit_mult"`
	IndirectChecks        *int   `json:"indirect_checks"`
	GossipNodes           *int   `json:"gossip_nodes"`
	AwarenessMax          *int   `json:"awareness_max_multiplier"`
	UDPBufferSize         *int   `json:"udp_buffer_size"`
	HandoffQueueDepth     *int   `json:"handoff_queue_depth"`
	MsgpackNewTimeFormat  bool   `json:"msgpack_use_new_time_format"`
	DelegateProtocol      *uint8 `json:"delegate_protocol"`
	DelegateProtocolRange []int  `json:"delegate_protocol_range"`
}

// SetAddressIfNone fills in the address where the system cannot choose one.
func (o *Options) SetAddressIfNone(bind string, port int) {
	if o.Bind == "" {
		o.Bind = bind
	}
	if o.Port == 0 {
		o.Port = port
	}
}

// Build makes memberlist's configuration.
func (o *Options) Build(logs io.Writer) (*memberlist.Config, error) {
	conf, err := profile(o.Profile)
	if err != nil {
		return nil, err
	}
	if o.Name != "" {
		conf.Name = o.Name
	}
	if o.Bind != "" {
		conf.BindAddr = o.Bind
	}
	conf.BindPort, conf.AdvertisePort = o.Port, o.Port
	if o.AdvertisePort != 0 {
		conf.AdvertisePort = o.AdvertisePort
	}
	conf.AdvertiseAddr = o.AdvertiseAddr
	conf.LogOutput = logs
	conf.DisableTcpPings = o.DisableTCPPings
	if o.CIDRsAllowed != nil {
		cidrs, err := parseCIDRs(o.CIDRsAllowed)
		if err != nil {
			return nil, err
		}
		if err := SetNewer(conf, "CIDRsAllowed", cidrs); err != nil {
			return nil, err
		}
	}
	err = errors.Join(
		SetNewer(conf, "Label", o.Label),
		SetNewer(conf, "SkipInboundLabelCheck", o.SkipInboundLabelCheck),
		SetNewer(conf, "RequireNodeNames", o.RequireNodeNames),
		SetNewer(conf, "MsgpackUseNewTimeFormat", o.MsgpackNewTimeFormat),
	)
	if o.DeadNodeReclaimMs != nil {
		err = errors.Join(err, SetNewer(conf, "DeadNodeReclaimTime", time.Duration(*o.DeadNodeReclaimMs)*time.Millisecond))
	}
	if o.QueueCheckIntervalMs != nil {
		err = errors.Join(err, SetNewer(conf, "QueueCheckInterval", time.Duration(*o.QueueCheckIntervalMs)*time.Millisecond))
	}
	if err != nil {
		return nil, err
	}
	o.overrides(conf)
	if conf.Keyring, err = o.keyring(); err != nil {
		return nil, err
	}
	return conf, nil
}

func profile(name string) (*memberlist.Config, error) {
	switch name {
	case "", "lan":
		return memberlist.DefaultLANConfig(), nil
	case "wan":
		return memberlist.DefaultWANConfig(), nil
	case "local":
		return memberlist.DefaultLocalConfig(), nil
	}
	return nil, fmt.Errorf("unknown profile %q", name)
}

func (o *Options) overrides(conf *memberlist.Config) {
	Set(&conf.GossipVerifyIncoming, o.VerifyIncoming)
	Set(&conf.GossipVerifyOutgoing, o.VerifyOutgoing)
	Set(&conf.EnableCompression, o.Compression)
	Set(&conf.ProtocolVersion, o.MemberlistProtocol)
	SetMs(&conf.ProbeInterval, o.ProbeIntervalMs)
	SetMs(&conf.ProbeTimeout, o.ProbeTimeoutMs)
	SetMs(&conf.GossipInterval, o.GossipIntervalMs)
	SetMs(&conf.PushPullInterval, o.PushPullIntervalMs)
	SetMs(&conf.TCPTimeout, o.TCPTimeoutMs)
	SetMs(&conf.GossipToTheDeadTime, o.GossipToTheDeadMs)
	Set(&conf.SuspicionMult, o.SuspicionMult)
	Set(&conf.SuspicionMaxTimeoutMult, o.SuspicionMaxMult)
	Set(&conf.RetransmitMult, o.RetransmitMult)
	Set(&conf.IndirectChecks, o.IndirectChecks)
	Set(&conf.GossipNodes, o.GossipNodes)
	Set(&conf.AwarenessMaxMultiplier, o.AwarenessMax)
	Set(&conf.UDPBufferSize, o.UDPBufferSize)
	Set(&conf.HandoffQueueDepth, o.HandoffQueueDepth)
	Set(&conf.DelegateProtocolVersion, o.DelegateProtocol)
	if len(o.DelegateProtocolRange) == 2 {
		conf.DelegateProtocolMin = uint8(o.DelegateProtocolRange[0])
		conf.DelegateProtocolMax = uint8(o.DelegateProtocolRange[1])
	}
}

// keyring has Key first (or else the first of Keyring) as the primary key.
func (o *Options) keyring() (*memberlist.Keyring, error) {
	var keys [][]byte
	for _, text := range append(oneIfSet(o.Key), o.Keyring...) {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("key %q is not base64: %w", text, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return memberlist.NewKeyring(keys, keys[0])
}

func oneIfSet(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// LoadKeyringFile does what the agent does: the file is a JSON list of base64
// keys, the first one is primary. An absent file is not an error.
func LoadKeyringFile(path string) (*memberlist.Keyring, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := Options{}
	if err := json.Unmarshal(raw, &o.Keyring); err != nil {
		return nil, fmt.Errorf("keyring file %s: %w", path, err)
	}
	return o.keyring()
}

func parseCIDRs(texts []string) ([]net.IPNet, error) {
	var cidrs []net.IPNet
	for _, text := range texts {
		_, cidr, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		cidrs = append(cidrs, *cidr)
	}
	return cidrs, nil
}

// SetNewer sets a field of *conf that only newer versions of the library have. Where it is
// missing, asking for anything but the zero value is an error.
func SetNewer[T any](conf any, name string, value T) error {
	field := reflect.ValueOf(conf).Elem().FieldByName(name)
	if field.IsValid() {
		field.Set(reflect.ValueOf(&value).Elem())
		return nil
	}
	if reflect.ValueOf(&value).Elem().IsZero() {
		return nil
	}
	return fmt.Errorf("this version of the library has no %s", name)
}

// Set copies an option that was given.
func Set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// SetMs copies a number of milliseconds that was given.
func SetMs(to *time.Duration, ms *int64) {
	if ms != nil {
		*to = time.Duration(*ms) * time.Millisecond
	}
}
