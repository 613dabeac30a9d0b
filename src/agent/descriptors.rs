//! Limit on open files and its division among the parts of the agent.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

/// The limit on open files, raised as far as the system permits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    /// The limit at the start, which child processes get back.
    original: Rlimit,
    limit: u64,
}

impl Descriptors {
    /// Raises the soft limit to the hard one, as Go's runtime does.
    pub(super) fn raise() -> Self {
        let original = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: original.maximum, maximum: original.maximum };
        // If refused, the current limit remains.
        let _ = setrlimit(Resource::Nofile, raised);
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { original, limit }
    }

    /// Most files that may be open.
    pub(super) fn limit(self) -> u64 {
        self.limit
    }

    /// Most streams between nodes that may be open.
    pub(super) fn streams(self) -> usize {
        share(self.limit, STREAMS_MAX)
    }

    /// Most RPC clients that may be connected.
    pub(super) fn clients(self) -> usize {
        share(self.limit, crate::rpc::protocol::CLIENTS_MAX)
    }

    /// Most HTTP clients that may be connected; part of the RPC clients.
    pub(super) fn http_clients(self) -> usize {
        self.clients() / 4
    }

    /// Restores the original limit for a child process: programs that use `select` fail with large
    /// descriptor numbers. Only Linux can change the limits of other processes.
    pub(super) fn restore(self, child: Pid) {
        #[cfg(not(target_os = "linux"))]
        let _ = (self.original, child);
        #[cfg(target_os = "linux")]
        if self.original.current != Some(self.limit) {
            // It may have exited.
            let _ = rustix::process::prlimit(Some(child), Resource::Nofile, self.original);
        }
    }
}

/// Half of the descriptors beyond the reserve, at most `max`.
fn share(limit: u64, max: usize) -> usize {
    let reserve = (limit / 4).min(RESERVE_MAX);
    let half = usize::try_from((limit - reserve) / 2).unwrap_or(usize::MAX);
    half.clamp(1, max)
}

/// Reserved for pipes of handlers, files, dialled streams, and connections that are not accepted
/// yet.
const RESERVE_MAX: u64 = 256;
/// Most streams between nodes, however many descriptors are available.
const STREAMS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_leaves_a_reserve_beside_streams_and_clients() {
        for limit in [64, 256, 1_024, 4_096, 65_536, u64::MAX] {
            let original = Rlimit { current: Some(limit), maximum: Some(limit) };
            let given = Descriptors { original, limit };
            let used = (given.streams() + given.clients()) as u64;
            assert!(limit - used >= (limit / 4).min(RESERVE_MAX), "{limit}: {given:?}");
            assert!(given.streams() >= 16 && given.clients() >= 16, "{limit}");
        }
        assert_eq!(share(65_536, STREAMS_MAX), STREAMS_MAX);
    }
}
