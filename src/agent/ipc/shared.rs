//! What clients of the RPC and of HTTP share.

use std::sync::Arc;

use super::{Agent, answers::Answers, events::Events, member_list::MemberLists};

/// The node's events, and its members with the room for large answers: one of each for all clients.
pub(in crate::agent) struct Shared {
    pub(in crate::agent) events: Arc<Events>,
    pub(in crate::agent) lists: Arc<MemberLists>,
}

impl Shared {
    /// Subscribes to the node's events.
    pub(in crate::agent) fn start(agent: &Arc<Agent>) -> Arc<Self> {
        let events = Arc::new(Events::start(agent));
        Arc::new(Self { events, lists: Arc::new(MemberLists::new(Answers::new())) })
    }
}
