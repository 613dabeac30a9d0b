package lib

import (
	"net"
	"time"

	"github.com/hashicorp/serf/serf"
)

// Message types of memberlist.
const (
	PingMsg uint8 = iota
	IndirectPingMsg
	AckRespMsg
	SuspectMsg
	AliveMsg
	DeadMsg
	PushPullMsg
	CompoundMsg
	UserMsg
	CompressMsg
	EncryptMsg
	NackRespMsg
	HasCrcMsg
	ErrMsg
	HasLabelMsg uint8 = 244
)

// Mirrors of memberlist's messages.
type (
	Ping struct {
		SeqNo      uint32
		Node       string
		SourceAddr []byte `codec:",omitempty"`
		SourcePort uint16 `codec:",omitempty"`
		SourceNode string `codec:",omitempty"`
	}
	IndirectPingReq struct {
		SeqNo      uint32
		Target     []byte
		Port       uint16
		Node       string
		Nack       bool
		SourceAddr []byte `codec:",omitempty"`
		SourcePort uint16 `codec:",omitempty"`
		SourceNode string `codec:",omitempty"`
	}
	AckResp struct {
		SeqNo   uint32
		Payload []byte
	}
	NackResp struct{ SeqNo uint32 }
	ErrResp  struct{ Error string }
	Suspect  struct {
		Incarnation uint32
		Node        string
		From        string
	}
	Dead  Suspect
	Alive struct {
		Incarnation uint32
		Node        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Vsn         []uint8
	}
	PushPullHeader struct {
		Nodes        int
		UserStateLen int
		Join         bool
	}
	UserMsgHeader struct{ UserMsgLen int }
	PushNodeState struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       int
		Vsn         []uint8
	}
	Compress struct {
		Algo uint8
		Buf  []byte
	}
)

// Message types of serf.
const (
	LeaveType uint8 = iota
	JoinType
	SerfPushPullType
	UserEventType
	QueryType
	QueryResponseType
	ConflictResponseType
	KeyRequestType
	KeyResponseType
	RelayType
)

// Mirrors of serf's messages.
type (
	Join struct {
		LTime serf.LamportTime
		Node  string
	}
	Leave struct {
		LTime serf.LamportTime
		Node  string
		Prune bool
	}
	SerfPushPull struct {
		LTime        serf.LamportTime
		StatusLTimes map[string]serf.LamportTime
		LeftMembers  []string
		EventLTime   serf.LamportTime
		Events       []*UserEvents
		QueryLTime   serf.LamportTime
	}
	UserEvents struct {
		LTime  serf.LamportTime
		Events []UserEvent
	}
	UserEvent struct {
		Name    string
		Payload []byte
	}
	UserEventMsg struct {
		LTime   serf.LamportTime
		Name    string
		Payload []byte
		CC      bool
	}
	Query struct {
		LTime       serf.LamportTime
		ID          uint32
		Addr        []byte
		Port        uint16
		SourceNode  string
		Filters     [][]byte
		Flags       uint32
		RelayFactor uint8
		Timeout     time.Duration
		Name        string
		Payload     []byte
	}
	QueryResponse struct {
		LTime   serf.LamportTime
		ID      uint32
		From    string
		Flags   uint32
		Payload []byte
	}
	FilterTag struct {
		Tag  string
		Expr string
	}
	KeyRequest  struct{ Key []byte }
	KeyResponse struct {
		Result     bool
		Message    string
		Keys       []string
		PrimaryKey string
	}
	RelayHeader struct {
		DestAddr net.UDPAddr
		DestName string
	}
)
