// The programs of cmd/ at an older version of the library; see scripts/go-peers.
module ruserf.dev/go-harness

go 1.26.0

require (
	github.com/armon/go-metrics v0.0.0-20180917152333-f0300d1749da
	github.com/google/btree v0.0.0-20180813153112-4030bb1f1f0c
	github.com/hashicorp/memberlist v0.3.0
	github.com/hashicorp/serf v0.9.7
)

require (
	github.com/hashicorp/errwrap v1.0.0 // indirect
	github.com/hashicorp/go-immutable-radix v1.0.0 // indirect
	github.com/hashicorp/go-msgpack v0.5.3 // indirect
	github.com/hashicorp/go-multierror v1.1.0 // indirect
	github.com/hashicorp/go-sockaddr v1.0.0 // indirect
	github.com/hashicorp/golang-lru v0.5.0 // indirect
	github.com/miekg/dns v1.1.41 // indirect
	github.com/sean-/seed v0.0.0-20170313163322-e2103e2c3529 // indirect
	golang.org/x/net v0.0.0-20210410081132-afb366fc7cd1 // indirect
	golang.org/x/sys v0.0.0-20210330210617-4fbd30eecc44 // indirect
)
