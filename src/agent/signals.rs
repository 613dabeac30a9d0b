//! Signals that the agent handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::AgentError;

/// A received signal.
#[derive(Clone, Copy)]
pub(super) enum Caught {
    Interrupt,
    Terminate,
    Hangup,
}

impl Caught {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Hangup => "hangup",
        }
    }
}

/// The signals that end the agent or reload its configuration.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Installs a handler for a signal.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, AgentError> {
    signal(kind).map_err(|error| AgentError::Invalid(format!("signal handler: {error}")))
}

impl Signals {
    pub(super) fn listen() -> Result<Self, AgentError> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.hangup.recv() => Caught::Hangup,
        }
    }

    /// The next signal that ends the agent.
    pub(super) async fn end(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }
}
