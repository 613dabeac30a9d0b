//! Limits on the contents of one message.

/// Most names, and most left members, in one push/pull: a state of 20 MiB has room for this many
/// names of about 32 bytes. Shorter ones are cheap to send but cost the memory of an entry each.
pub(crate) const PUSH_PULL_ITEMS_MAX: usize = 524_288;
/// Most ring slots in one push/pull; Go sends 512.
pub(crate) const PUSH_PULL_SLOTS_MAX: usize = 65_536;
/// Most events in the ring of one push/pull; a well-behaved peer's ring holds a few thousand.
pub(crate) const PUSH_PULL_EVENTS_MAX: usize = 262_144;
/// Most filters in one query.
pub(crate) const FILTERS_MAX: usize = 1_024;
/// Most tags in the meta of one node; 512 bytes hold fewer.
pub(crate) const TAGS_MAX: usize = 512;
/// Most dimensions of a coordinate; Go uses 8.
pub(crate) const DIMENSIONS_MAX: usize = 64;
/// Most keys in one answer; 1024 bytes hold fewer.
pub(crate) const KEYS_MAX: usize = 4_096;
