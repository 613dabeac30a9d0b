//! Callers that wait for the end of an operation.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{Error, KeyFailure};
use crate::{
    serf::{self, Completion, KeyResponse},
    swim::OpId,
};

/// Where the result of an operation is sent.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The callers by the type of their result, so that no handle has to handle the result of another
/// kind of operation.
#[derive(Default)]
pub(super) struct Callers {
    pub(super) joins: Waiting<usize>,
    pub(super) keys: Waiting<KeyResponse>,
    /// Operations without a further result.
    pub(super) changes: Waiting<()>,
}

impl Callers {
    /// Passes the result of an operation to its caller.
    pub(super) fn complete(&mut self, op: OpId, result: Result<Completion, serf::Error>) {
        match result {
            Ok(Completion::Joined { contacted }) => self.joins.complete(op, Ok(contacted)),
            Ok(Completion::Keys { response, error }) => {
                self.keys.complete(op, key_result(response, error));
            }
            Ok(Completion::Done) => self.changes.complete(op, Ok(())),
            Err(error) => self.fail(op, error.into()),
        }
    }

    /// An error may end an operation of any kind.
    fn fail(&mut self, op: OpId, error: Error) {
        if self.joins.0.contains_key(&op) {
            self.joins.complete(op, Err(error));
        } else if self.keys.0.contains_key(&op) {
            self.keys.complete(op, Err(error));
        } else {
            self.changes.complete(op, Err(error));
        }
    }
}

/// Callers whose results have the same type.
pub(super) struct Waiting<T>(BTreeMap<OpId, Reply<T>>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Waiting<T> {
    /// Adds the caller of an operation, or reports why it could not be started.
    pub(super) fn add(&mut self, started: Result<OpId, serf::Error>, reply: Reply<T>) {
        match started {
            Ok(op) => drop(self.0.insert(op, reply)),
            Err(error) => drop(reply.send(Err(error.into()))),
        }
    }

    fn complete(&mut self, op: OpId, result: Result<T, Error>) {
        if let Some(reply) = self.0.remove(&op) {
            // The caller may have dropped its future.
            let _ = reply.send(result);
        }
    }
}

fn key_result(response: KeyResponse, summary: Option<String>) -> Result<KeyResponse, Error> {
    match summary {
        None => Ok(response),
        Some(summary) => Err(Error::Keys(Box::new(KeyFailure { response, summary }))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_gets_the_result_of_its_own_operation() {
        let mut callers = Callers::default();
        let (join, mut joined) = oneshot::channel();
        let (keys, mut listed) = oneshot::channel();
        let (leave, mut left) = oneshot::channel();
        callers.joins.add(Ok(OpId(1)), join);
        callers.keys.add(Ok(OpId(2)), keys);
        callers.changes.add(Ok(OpId(3)), leave);
        // Nobody waits for this one.
        callers.complete(OpId(4), Ok(Completion::Joined { contacted: 9 }));
        callers.complete(OpId(3), Ok(Completion::Done));
        let response = KeyResponse { num_nodes: 2, ..KeyResponse::default() };
        let error = Some("1/2 nodes reported failure".to_owned());
        callers.complete(OpId(2), Ok(Completion::Keys { response: response.clone(), error }));
        callers.complete(OpId(1), Ok(Completion::Joined { contacted: 5 }));
        assert_eq!(joined.try_recv().unwrap().unwrap(), 5);
        left.try_recv().unwrap().unwrap();
        let Err(Error::Keys(failure)) = listed.try_recv().unwrap() else { panic!("no failure") };
        assert_eq!(failure.response, response);
        assert_eq!(failure.summary, "1/2 nodes reported failure");
    }

    #[test]
    fn an_error_ends_an_operation_of_any_kind() {
        let mut callers = Callers::default();
        let (join, mut joined) = oneshot::channel();
        let (keys, mut listed) = oneshot::channel();
        let (leave, mut left) = oneshot::channel();
        let (late, mut refused) = oneshot::channel();
        callers.joins.add(Ok(OpId(1)), join);
        callers.keys.add(Ok(OpId(2)), keys);
        callers.changes.add(Ok(OpId(3)), leave);
        callers.joins.add(Err(serf::Error::TooManyJoins), late);
        for op in 1..=3 {
            callers.complete(OpId(op), Err(serf::Error::Left));
        }
        assert!(matches!(joined.try_recv(), Ok(Err(Error::Left))));
        assert!(matches!(listed.try_recv(), Ok(Err(Error::Left))));
        assert!(matches!(left.try_recv(), Ok(Err(Error::Left))));
        assert!(matches!(refused.try_recv(), Ok(Err(Error::TooManyJoins))));
    }
}
