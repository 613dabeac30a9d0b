//! Every bound on what a peer may make us hold.

/// Largest node meta in bytes. Go: `MetaMaxSize`.
pub const META_BYTES_MAX: usize = 512;
/// Largest label in bytes. Go: `LabelMaxSize`.
pub const LABEL_BYTES_MAX: usize = 255;
/// Most messages in one compound. Go: `makeCompoundMessages`.
pub const COMPOUND_PARTS_MAX: usize = 255;
/// Deepest nesting of compound and compressed messages in one packet; Go has no bound.
pub const PACKET_DEPTH_MAX: usize = 8;
/// Largest datagram the socket hands over. Go: `udpPacketBufSize`.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Largest encrypted frame, user state and user message of a stream. Go: `maxPushStateBytes`.
pub const STREAM_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Largest decompressed stream. Go: twice `maxPushStateBytes`.
pub const DECOMPRESSED_BYTES_MAX: usize = 2 * STREAM_BYTES_MAX;
/// Most rows in one push/pull. Go: `maxPushPullNodes`.
pub const PUSH_PULL_ROWS_MAX: usize = 1_048_576;
/// Largest ratio of decompressed to compressed size of a stream, above 64 KiB for free. Rows that
/// differ in nothing but name and address reach about 20; Go has no such bound.
pub const DECOMPRESSED_RATIO_MAX: usize = 100;
/// Largest ping, ack, error reply or header on a stream; Go has no bound.
pub const STREAM_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most keys in a ring: each is tried on a packet that none of them opens. Go has no bound.
pub const KEYRING_KEYS_MAX: usize = 64;
