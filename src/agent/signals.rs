//! Signals that the agent listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::AgentError;

/// A signal that came.
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

/// Those that end the agent or reload its configuration.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// Catches a signal from now on.
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

    /// Those that end the agent.
    pub(super) async fn end(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }
}
