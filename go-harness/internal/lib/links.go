package lib

import (
	"bytes"
	"net"
	"time"
	_ "unsafe" // for linkname

	"github.com/hashicorp/memberlist"
	_ "github.com/hashicorp/serf/serf" // links what is named below
)

//go:linkname mlEncode github.com/hashicorp/memberlist.encode
func mlEncode(msgType uint8, in any, newTimeFormat bool) (*bytes.Buffer, error)

// Decode is memberlist's decoder, for a body without its type byte.
//
//go:linkname Decode github.com/hashicorp/memberlist.decode
func Decode(buf []byte, out any) error

//go:linkname compressPayload github.com/hashicorp/memberlist.compressPayload
func compressPayload(inp []byte, newTimeFormat bool) (*bytes.Buffer, error)

// DecompressPayload unpacks the body of a compress message.
//
//go:linkname DecompressPayload github.com/hashicorp/memberlist.decompressPayload
func DecompressPayload(msg []byte) ([]byte, error)

// DecodeCompound splits the body of a compound message.
//
//go:linkname DecodeCompound github.com/hashicorp/memberlist.decodeCompoundMessage
func DecodeCompound(buf []byte) (trunc int, parts [][]byte, err error)

//go:linkname makeCompoundMessage github.com/hashicorp/memberlist.makeCompoundMessage
func makeCompoundMessage(msgs [][]byte) *bytes.Buffer

//go:linkname makeCompoundMessages github.com/hashicorp/memberlist.makeCompoundMessages
func makeCompoundMessages(msgs [][]byte) []*bytes.Buffer

//go:linkname encryptPayload github.com/hashicorp/memberlist.encryptPayload
func encryptPayload(vsn uint8, key, msg, data []byte, dst *bytes.Buffer) error

// DecryptPayload opens an encrypted payload.
//
//go:linkname DecryptPayload github.com/hashicorp/memberlist.decryptPayload
func DecryptPayload(keys [][]byte, msg, data []byte) ([]byte, error)

// SuspicionTimeout is the minimum suspicion time.
//
//go:linkname SuspicionTimeout github.com/hashicorp/memberlist.suspicionTimeout
func SuspicionTimeout(mult, n int, interval time.Duration) time.Duration

// RemainingSuspicionTime is what is left after n of k confirmations.
//
//go:linkname RemainingSuspicionTime github.com/hashicorp/memberlist.remainingSuspicionTime
func RemainingSuspicionTime(n, k int32, elapsed, min, max time.Duration) time.Duration

// RetransmitLimit is how often a broadcast is sent.
//
//go:linkname RetransmitLimit github.com/hashicorp/memberlist.retransmitLimit
func RetransmitLimit(mult, n int) int

// PushPullScale is the push/pull interval in a cluster of n.
//
//go:linkname PushPullScale github.com/hashicorp/memberlist.pushPullScale
func PushPullScale(interval time.Duration, n int) time.Duration

// IngestPacket hands a datagram to a node, on the caller's goroutine.
//
//go:linkname IngestPacket github.com/hashicorp/memberlist.(*Memberlist).ingestPacket
func IngestPacket(m *memberlist.Memberlist, buf []byte, from net.Addr, at time.Time)

// MergeRemoteState merges the rows of a push/pull without a user state.
func MergeRemoteState(m *memberlist.Memberlist, join bool, rows []PushNodeState) error {
	return mergeRemoteState(m, join, rows, nil)
}

// The rows have the layout of memberlist's own type.
//
//go:linkname mergeRemoteState github.com/hashicorp/memberlist.(*Memberlist).mergeRemoteState
func mergeRemoteState(m *memberlist.Memberlist, join bool, rows []PushNodeState, user []byte) error

// RawSendMsgPacket sends one message with the layers the node's configuration asks for.
//
//go:linkname RawSendMsgPacket github.com/hashicorp/memberlist.(*Memberlist).rawSendMsgPacket
func RawSendMsgPacket(m *memberlist.Memberlist, a memberlist.Address, node *memberlist.Node, msg []byte) error

// RawSendMsgStream writes one message on a stream with the layers of the configuration.
//
//go:linkname RawSendMsgStream github.com/hashicorp/memberlist.(*Memberlist).rawSendMsgStream
func RawSendMsgStream(m *memberlist.Memberlist, conn net.Conn, buf []byte, label string) error

// SendUserMsg dials and sends a user message by stream.
//
//go:linkname SendUserMsg github.com/hashicorp/memberlist.(*Memberlist).sendUserMsg
func SendUserMsg(m *memberlist.Memberlist, a memberlist.Address, buf []byte) error

// SendLocalState writes the node's own push/pull half.
//
//go:linkname SendLocalState github.com/hashicorp/memberlist.(*Memberlist).sendLocalState
func SendLocalState(m *memberlist.Memberlist, conn net.Conn, join bool, label string) error

// Gossip runs one gossip round now.
//
//go:linkname Gossip github.com/hashicorp/memberlist.(*Memberlist).gossip
func Gossip(m *memberlist.Memberlist)

// ResetNodes purges old dead nodes and shuffles.
//
//go:linkname ResetNodes github.com/hashicorp/memberlist.(*Memberlist).resetNodes
func ResetNodes(m *memberlist.Memberlist)

// Deschedule stops probing, gossip and push/pull.
//
//go:linkname Deschedule github.com/hashicorp/memberlist.(*Memberlist).deschedule
func Deschedule(m *memberlist.Memberlist)

// ProbeOnce runs one probe tick; it takes as long as the probe.
//
//go:linkname ProbeOnce github.com/hashicorp/memberlist.(*Memberlist).probe
func ProbeOnce(m *memberlist.Memberlist)

//go:linkname serfEncodeMessage github.com/hashicorp/serf/serf.encodeMessage
func serfEncodeMessage(t uint8, msg any, newTimeFormat bool) ([]byte, error)

// SerfDecode is serf's decoder, for a body without its type byte.
//
//go:linkname SerfDecode github.com/hashicorp/serf/serf.decodeMessage
func SerfDecode(buf []byte, out any) error

//go:linkname serfEncodeFilter github.com/hashicorp/serf/serf.encodeFilter
func serfEncodeFilter(f uint8, filt any) ([]byte, error)

//go:linkname serfEncodeRelay github.com/hashicorp/serf/serf.encodeRelayMessage
func serfEncodeRelay(t uint8, addr net.UDPAddr, name string, msg any) ([]byte, error)
