//! The clients of the RPC's socket.

use std::sync::Arc;

use tracing::{info, warn};

use super::{
    Agent, RpcAddr, Shared,
    accepted::Accepted,
    admission::{Admission, Pass},
    events::Events,
    listener::{Listener, Service},
    session,
};

/// Serves clients until it is dropped.
pub(in crate::agent) async fn serve(agent: Arc<Agent>, shared: Arc<Shared>, listener: Listener) {
    let admission = Admission::sharing(rpc_clients(&agent), &shared.lists);
    let server = Server { agent, events: Arc::clone(&shared.events), refused: 0 };
    listener.serve(&admission, server).await;
}

struct Server {
    agent: Arc<Agent>,
    events: Arc<Events>,
    /// Clients refused since the last admitted one.
    refused: u64,
}

impl Service for Server {
    fn log_failure(&self, error: &str) {
        warn!(target: "agent.ipc", "Failed to accept client: {error}");
    }

    fn refuse(&mut self, client: &Accepted) {
        self.refused += 1;
        if self.refused.is_power_of_two() {
            let (name, refused) = (&client.name, self.refused);
            warn!(
                target: "agent.ipc",
                "Refusing client: {name}: too many are connected ({refused} refused)"
            );
        }
    }

    fn serve(
        &mut self,
        mut pass: Pass,
        client: Accepted,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.refused = 0;
        info!(target: "agent.ipc", "Accepted client: {}", client.name);
        metrics::counter!("agent.ipc.accept").increment(1);
        let (agent, events) = (Arc::clone(&self.agent), Arc::clone(&self.events));
        async move {
            let tls = agent.auth.rpc_tls.as_ref();
            let secured = pass.unless_evicted(client.secured(tls)).await;
            if let Some(Some(client)) = secured {
                session::run(agent, events, pass, client).await;
            }
        }
    }
}

/// Most RPC clients; HTTP clients are a part of them.
fn rpc_clients(agent: &Agent) -> usize {
    match agent.settings.http_addr {
        RpcAddr::Off => agent.descriptors.clients(),
        RpcAddr::Unix(_) | RpcAddr::Tcp(_) => {
            agent.descriptors.clients() - agent.descriptors.http_clients()
        }
    }
}
