//! The parts of the state needed to ask and answer queries, borrowed for one call.

use super::{
    Error, QueryId, QueryParams,
    asked::Asker,
    broadcasts::Broadcasts,
    context::Context,
    membership::Membership,
    query::{Queries, Question},
};

pub(crate) struct QueryParts<'a> {
    pub(crate) cx: &'a mut Context,
    pub(crate) members: &'a mut Membership,
    pub(crate) queries: &'a mut Queries,
    pub(crate) broadcasts: &'a mut Broadcasts,
}

impl QueryParts<'_> {
    /// See [`Queries::ask`].
    pub(crate) fn ask(
        &mut self,
        asker: Asker,
        nodes: usize,
        name: &[u8],
        payload: &[u8],
        params: &QueryParams,
    ) -> Result<QueryId, Error> {
        let question = Question { asker, nodes, name, payload, params };
        self.queries.ask(self.cx, self.members, self.broadcasts, question)
    }

    /// See [`Queries::respond`].
    pub(crate) fn respond(&mut self, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        self.queries.respond(self.cx, &self.members.table, id, payload)
    }
}
