//! Limits on the memory and work that a peer's bytes can cause.

/// Largest node meta in bytes. Go: `MetaMaxSize`.
pub const META_BYTES_MAX: usize = 512;
/// Largest label in bytes. Go: `LabelMaxSize`.
pub const LABEL_BYTES_MAX: usize = 255;
/// Most messages in one compound. Go: `makeCompoundMessages`.
pub const COMPOUND_PARTS_MAX: usize = 255;
/// Deepest nesting of compound and compressed messages in one packet; Go has no bound.
pub const PACKET_DEPTH_MAX: usize = 8;
/// Largest datagram that the socket delivers. Go: `udpPacketBufSize`.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Largest encrypted frame, user state and user message of a stream. Go: `maxPushStateBytes`.
pub const STREAM_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Largest decompressed stream. Go: twice `maxPushStateBytes`.
pub const DECOMPRESSED_BYTES_MAX: usize = 2 * STREAM_BYTES_MAX;
/// Most rows in one push/pull. Go: `maxPushPullNodes`.
pub const PUSH_PULL_ROWS_MAX: usize = 1_048_576;
/// Largest ratio of decompressed to compressed size of a stream; the first 64 KiB are exempt. Rows
/// that differ only in name and address reach about 20; Go has no such limit.
pub const DECOMPRESSED_RATIO_MAX: usize = 100;
/// Largest ping, ack, error reply or header on a stream; Go has no limit.
pub const STREAM_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most keys in a ring: all are tried on a packet that none of them decrypts. Go has no limit.
pub const KEYRING_KEYS_MAX: usize = 64;
