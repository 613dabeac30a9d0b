//go:build !memberlist01

package main

import "github.com/hashicorp/memberlist"

func sendTo(list *memberlist.Memberlist, addr, name string, payload []byte) error {
	return list.SendToAddress(memberlist.Address{Addr: addr, Name: name}, payload)
}
