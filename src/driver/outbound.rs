//! Outgoing messages on streams: encrypted once for all peers that receive the same, and limited in
//! total.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::{
    base::Rng,
    wire::{Role, StreamCodec},
};

/// All messages that are being sent.
pub(super) struct Outbound {
    bytes_max: usize,
    kib_left: Arc<Semaphore>,
    /// Large messages, to be shared.
    shared: Vec<Weak<Outgoing>>,
}

/// A message and its encrypted form.
pub(super) struct Outgoing {
    message: Bytes,
    codec: StreamCodec,
    role: Role,
    sealed: OnceCell<Vec<u8>>,
    /// Covers the encrypted form; small messages need none.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self::of_bytes(BYTES_MAX)
    }

    pub(super) fn of_bytes(bytes_max: usize) -> Self {
        let kib_left = Arc::new(Semaphore::new(bytes_max.div_ceil(KIB)));
        Self { bytes_max, kib_left, shared: Vec::new() }
    }

    /// Admits a message; `None` if too many bytes are already being sent. The same bytes for many
    /// peers count once; a single message is admitted whatever its size.
    pub(super) fn admit(
        &mut self,
        message: Bytes,
        codec: StreamCodec,
        role: Role,
    ) -> Option<Arc<Outgoing>> {
        let mut permit = None;
        let small = message.len() <= SMALL_BYTES_MAX;
        if !small {
            self.shared.retain(|outgoing| outgoing.strong_count() > 0);
            let mut shared = self.shared.iter().filter_map(Weak::upgrade);
            if let Some(same) = shared.find(|outgoing| outgoing.is(&message, &codec, role)) {
                return Some(same);
            }
            let wanted = message.len().min(self.bytes_max).div_ceil(KIB);
            let kib_left = Arc::clone(&self.kib_left);
            permit = Some(kib_left.try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()?);
        }
        let sealed = OnceCell::new();
        let outgoing = Arc::new(Outgoing { message, codec, role, sealed, _permit: permit });
        if !small {
            self.shared.push(Arc::downgrade(&outgoing));
        }
        Some(outgoing)
    }
}

impl Outgoing {
    /// Whether it is this message for streams with this codec: the same memory, not just equal
    /// bytes.
    fn is(&self, message: &Bytes, codec: &StreamCodec, role: Role) -> bool {
        self.role == role
            && self.message.as_ptr() == message.as_ptr()
            && self.message.len() == message.len()
            && self.codec.is(codec)
    }

    /// Returns the bytes to send. The first caller encrypts them; concurrent callers wait for that.
    pub(super) async fn sealed(&self, seed: [u8; 32]) -> &[u8] {
        let seal = async {
            let mut sealed = Vec::new();
            self.codec.seal(&mut Rng::from_seed(seed), self.role, &self.message, &mut sealed);
            sealed.shrink_to_fit();
            sealed
        };
        self.sealed.get_or_init(|| seal).await
    }
}

/// Messages of at most this size are encrypted for each peer.
const SMALL_BYTES_MAX: usize = 16 * KIB;
/// 64 MiB of encrypted messages: at least parts of two of the largest, since slow peers may still
/// be reading one when the next is created.
const BYTES_MAX: usize = 64 * 1024 * KIB;
const KIB: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CodecConfig, PacketCodec};

    fn codec() -> StreamCodec {
        PacketCodec::build(CodecConfig::default()).unwrap().stream_codec()
    }

    #[tokio::test]
    async fn same_message_for_many_peers_is_sealed_and_counted_once() {
        let mut outbound = Outbound::of_bytes(200 * KIB);
        let (codec, state) = (codec(), Bytes::from(vec![6; 150 * KIB]));
        let mut admit =
            |message: &Bytes| outbound.admit(message.clone(), codec.clone(), Role::Acceptor);
        let first = admit(&state).unwrap();
        let sealed = first.sealed([1; 32]).await.as_ptr();
        let others: Vec<_> = (0..126).map(|_| admit(&state).unwrap()).collect();
        for other in &others {
            assert_eq!(other.sealed([2; 32]).await.as_ptr(), sealed);
        }
        // A message requested in between changes nothing.
        let join = admit(&Bytes::from(vec![6; 30 * KIB])).unwrap();
        assert!(Arc::ptr_eq(&admit(&state).unwrap(), &first));
        drop(join);
        // Another state does not fit; an ack always does.
        let changed = Bytes::from(vec![6; 150 * KIB]);
        assert!(admit(&changed).is_none());
        assert!(admit(&Bytes::from_static(b"ack")).is_some());
        drop((first, others));
        assert!(admit(&changed).is_some());
    }

    #[test]
    fn single_message_is_admitted_whatever_its_size() {
        let mut outbound = Outbound::of_bytes(64 * KIB);
        let (codec, state) = (codec(), Bytes::from(vec![6; 1024 * KIB]));
        let mut admit =
            |message: &Bytes| outbound.admit(message.clone(), codec.clone(), Role::Dialer);
        let first = admit(&state);
        assert!(first.is_some());
        assert!(admit(&Bytes::from(vec![6; 20 * KIB])).is_none());
    }

    #[test]
    fn message_is_sealed_anew_after_the_keys_changed() {
        let mut outbound = Outbound::new();
        let state = Bytes::from(vec![6; 20 * KIB]);
        let first = outbound.admit(state.clone(), codec(), Role::Acceptor).unwrap();
        let second = outbound.admit(state.clone(), codec(), Role::Acceptor).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
    }
}
