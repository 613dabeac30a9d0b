package lib

import (
	"bytes"
	"crypto/rand"
	"net"
)

// Encode makes a memberlist message with its type byte.
func Encode(msgType uint8, in any) []byte { return buf(mlEncode(msgType, in, false)) }

// CompressMessage wraps a message in a compress message.
func CompressMessage(msg []byte) []byte { return buf(compressPayload(msg, false)) }

// Compound puts messages into one.
func Compound(msgs [][]byte) []byte { return makeCompoundMessage(msgs).Bytes() }

// Compounds puts messages into as many compound messages as needed.
func Compounds(msgs [][]byte) [][]byte {
	var out [][]byte
	for _, b := range makeCompoundMessages(msgs) {
		out = append(out, b.Bytes())
	}
	return out
}

// Encrypt seals a payload with a random nonce, or with the one given to WithNonce.
func Encrypt(vsn uint8, key, msg, aad []byte) []byte {
	var dst bytes.Buffer
	must(encryptPayload(vsn, key, msg, aad, &dst))
	return dst.Bytes()
}

// WithNonce runs f while the process's random source yields these bytes again and again.
func WithNonce(nonce []byte, f func()) {
	saved := rand.Reader
	rand.Reader = &repeat{bytes: nonce}
	defer func() { rand.Reader = saved }()
	f()
}

type repeat struct {
	bytes []byte
	at    int
}

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.bytes[r.at%len(r.bytes)]
		r.at++
	}
	return len(p), nil
}

// SerfEncode makes a serf message with its type byte.
func SerfEncode(t uint8, msg any) []byte { return raw(serfEncodeMessage(t, msg, false)) }

// SerfFilter makes one filter of a query.
func SerfFilter(kind uint8, filter any) []byte { return raw(serfEncodeFilter(kind, filter)) }

// SerfRelay wraps a message for a third node.
func SerfRelay(t uint8, addr net.UDPAddr, name string, msg any) []byte {
	return raw(serfEncodeRelay(t, addr, name, msg))
}

func buf(b *bytes.Buffer, err error) []byte {
	must(err)
	return b.Bytes()
}

func raw(b []byte, err error) []byte {
	must(err)
	return b
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
