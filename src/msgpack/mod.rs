//! Layer 0: Go's MessagePack dialect.
