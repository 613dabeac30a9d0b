//go:build memberlist01

package main

import (
	"net"

	"github.com/hashicorp/memberlist"
)

// memberlist 0.1 addresses nodes without their names.
func sendTo(list *memberlist.Memberlist, addr, _ string, payload []byte) error {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	return list.SendTo(to, payload)
}
