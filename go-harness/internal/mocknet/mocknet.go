// Package mocknet is a network inside the process: nodes are found by address,
// everything that is sent is recorded, and anything can be injected.
package mocknet

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Capture is what one side sent.
type Capture struct {
	// Kind is packet, stream (the dialer's bytes) or reply (the acceptor's).
	Kind     string
	From, To string
	Bytes    []byte
}

// Network connects transports; those without a peer send into the void.
type Network struct {
	mu       sync.Mutex
	nodes    map[string]*Transport
	captures []Capture
	streams  []*recordedConn
}

// New returns an empty network.
func New() *Network { return &Network{nodes: map[string]*Transport{}} }

// Transport is one node's side; it implements memberlist.NodeAwareTransport.
type Transport struct {
	net     *Network
	addr    *net.UDPAddr
	packets chan *memberlist.Packet
	streams chan net.Conn
	deaf    atomic.Bool
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Attach adds a node with this address.
func (n *Network) Attach(ip string, port int) *Transport {
	t := &Transport{
		net: n, addr: &net.UDPAddr{IP: net.ParseIP(ip), Port: port},
		packets: make(chan *memberlist.Packet, 4096), streams: make(chan net.Conn, 16),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[t.addr.String()] = t
	return t
}

// Take returns and forgets what was sent so far; streams come when both ends are known.
func (n *Network) Take() []Capture {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.captures
	n.captures = nil
	for _, s := range n.streams {
		if b := s.take(); len(b) > 0 {
			out = append(out, Capture{Kind: s.kind, From: s.from, To: s.to, Bytes: b})
		}
	}
	n.streams = nil
	return out
}

// FinalAdvertiseAddr implements memberlist.Transport; the address has 4 bytes for IPv4.
func (t *Transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr := t.addr.IP
	if ip != "" && ip != "0.0.0.0" {
		if addr = net.ParseIP(ip); addr == nil {
			return nil, 0, fmt.Errorf("failed to parse %q", ip)
		}
	}
	if four := addr.To4(); four != nil {
		addr = four
	}
	if port == 0 {
		port = t.addr.Port
	}
	return addr, port, nil
}

// WriteTo implements memberlist.Transport.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	buf := append([]byte(nil), b...)
	t.net.mu.Lock()
	t.net.captures = append(t.net.captures, Capture{"packet", t.addr.String(), addr, buf})
	peer := t.net.nodes[addr]
	t.net.mu.Unlock()
	if peer != nil && !peer.deaf.Load() {
		select {
		case peer.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: t.addr, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// PacketCh implements memberlist.Transport.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout implements memberlist.Transport.
func (t *Transport) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	t.net.mu.Lock()
	peer := t.net.nodes[addr]
	t.net.mu.Unlock()
	if peer == nil {
		host, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP(host), Port: n}, Err: fmt.Errorf("no such node")}
	}
	near, far := net.Pipe()
	ours := &recordedConn{Conn: near, kind: "stream", from: t.addr.String(), to: addr}
	theirs := &recordedConn{Conn: far, kind: "reply", from: addr, to: t.addr.String()}
	t.net.mu.Lock()
	t.net.streams = append(t.net.streams, ours, theirs)
	t.net.mu.Unlock()
	peer.streams <- theirs
	return ours, nil
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *Transport) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, d)
}

// Shutdown implements memberlist.Transport.
func (t *Transport) Shutdown() error { return nil }

// SetDeaf makes the node lose every datagram sent to it; streams still arrive.
func (t *Transport) SetDeaf(deaf bool) { t.deaf.Store(deaf) }

// Detach makes the node unreachable.
func (t *Transport) Detach() {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	delete(t.net.nodes, t.addr.String())
}

// Accept hands a stream to the node and returns the dialer's end.
func (t *Transport) Accept() net.Conn {
	near, far := net.Pipe()
	t.streams <- far
	return near
}

type recordedConn struct {
	net.Conn
	kind, from, to string

	mu   sync.Mutex
	sent []byte
}

func (c *recordedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	c.sent = append(c.sent, b[:n]...)
	c.mu.Unlock()
	return n, err
}

func (c *recordedConn) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}
