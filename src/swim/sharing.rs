//! For the simulator: push/pulls that pass on the pages of the sender's table instead of encoded
//! rows. In a large cluster nearly all tables are equal, and two of them that share a page need not
//! compare its rows.

use std::sync::Arc;

use super::{
    Error, Host, Shared, StreamId, Swim,
    answers::{Answer, State, too_large},
    claim::Source,
    digest::Digest,
    merge::ROWS_AT_ONCE,
    page::Page,
    rows::Rows,
    under_way::Merge,
};
use crate::{
    base::{Instant, mutated},
    wire::{Compression, PushPull, SharedRows},
};

impl Swim {
    /// Whether push/pulls pass on pages: not if somebody is to see each row, or the bytes.
    pub(super) fn shares_pages(&self) -> bool {
        let codec = self.codec.config();
        self.config.share_pages
            && !(self.config.filter_alive || self.config.filter_merge)
            && codec.keyring.is_empty()
            && matches!(codec.compression, Compression::None)
    }

    /// Our state without its rows, which [`Swim::share`] adds.
    pub(super) fn rowless_state(
        &mut self,
        now: Instant,
        join: bool,
        host: &mut dyn Host,
    ) -> Result<Answer, Error> {
        let mut user_state = Vec::new();
        host.local_state(join, &mut user_state);
        let generation = self.table.generation();
        let state = State { now, join, generation, user_state: &user_state };
        let total = self.total();
        let answer = self.answers.make(&state, Rows::without_rows(total.rows));
        let bytes = answer.message.len() + total.bytes;
        if let Some(reason) = too_large(bytes, user_state.len()) {
            return Err(Error::Peer(reason));
        }
        self.stats.local_state_bytes = bytes as u64;
        Ok(answer)
    }

    /// Keeps all rows for the receiver of a state, until [`Swim::take_shared`] asks for them.
    pub(super) fn share(&mut self, id: StreamId, answer: &Answer) {
        if !self.shares_pages() {
            return;
        }
        let Digest { bytes, rows, versions, .. } = self.total();
        self.stats.tcp_sent += bytes as u64;
        let pages: Vec<Arc<Page>> = self.table.pages().to_vec();
        let state = PushPull {
            join: answer.join,
            row_count: rows,
            rows: bytes::Bytes::new(),
            versions,
            user_state: answer.user_state(),
            shared: Some(SharedRows::new(pages)),
        };
        self.answers.shared.insert(id, Shared { state, bytes: answer.message.len() + bytes });
    }

    /// The state to pass on instead of the message on a stream, if its rows are shared.
    pub fn take_shared(&mut self, id: StreamId) -> Option<Shared> {
        self.answers.shared.remove(&id)
    }

    fn total(&mut self) -> Digest {
        self.table.digest_pages();
        let mut total = Digest::default();
        for digest in self.table.pages().iter().filter_map(|page| page.digest()) {
            total.bytes += digest.bytes;
            total.rows += digest.rows;
            total.suspects += digest.suspects;
            total.versions.add_all(&digest.versions);
        }
        total
    }

    /// Merges the next shared pages, as many as have new rows for one turn; returns whether they
    /// were the last. Equal rows change nothing, unless the node is suspected: then they confirm
    /// the suspicion.
    pub(super) fn merge_pages(
        &mut self,
        now: Instant,
        merge: &mut Merge,
        pages: &[Arc<Page>],
        source: Source,
        host: &mut dyn Host,
    ) -> bool {
        let me = Arc::clone(&self.config.name);
        let all = mutated!(self.config, StaleAlive);
        let mut rows = 0;
        for (index, theirs) in pages.iter().enumerate().skip(merge.at) {
            let mine = self.table.pages().get(index);
            let same = mine.is_some_and(|mine| Arc::ptr_eq(mine, theirs));
            let calm = theirs.digest().is_some_and(|digest| digest.suspects == 0);
            if same && calm && !all {
                continue;
            }
            if rows >= ROWS_AT_ONCE {
                merge.at = index;
                return false;
            }
            for row in theirs.rows() {
                self.merge_row(now, &row.to_wire(), source, &me, host);
                rows += 1;
            }
            self.table.adopt(index, theirs);
        }
        true
    }
}
