//! The responder.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::net::UdpSocket;
use tracing::{debug, info};

use super::{
    discover::discover,
    service::Service,
    socket::{GROUPS, PACKET_BYTES_MAX, listen},
};
use crate::agent::{
    AgentError, Settings,
    operations::Agent,
    settings::{Mdns, host_name},
};

/// Answers and asks until the task is aborted.
///
/// # Errors
/// No socket can listen for questions, or the node's name cannot be a name of DNS.
pub(in crate::agent) async fn start(
    agent: Arc<Agent>,
    settings: &Mdns,
    host: &str,
) -> Result<tokio::task::JoinHandle<()>, AgentError> {
    let fail = |text: String| AgentError::Invalid(format!("Error starting mDNS listener: {text}"));
    let local = agent.serf.local_member().await;
    let ip = match *local.addr {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        ref bytes => <[u8; 16]>::try_from(bytes)
            .map(|bytes| Ipv6Addr::from(bytes).to_canonical())
            .map_err(|_| fail("the node has no address".to_owned()))?,
    };
    let service = Service {
        cluster: settings.cluster.clone(),
        instance: local.name.to_string(),
        host: host.to_owned(),
        addr: SocketAddr::new(ip, local.port),
    };
    service.check().map_err(|error| fail(error.to_string()))?;
    if let Some(interface) = &settings.interface {
        info!(target: "agent", "Starting mDNS listener on interface {}", interface.name);
    }
    let listeners: Vec<_> = GROUPS
        .into_iter()
        .filter_map(|group| match listen(group, settings) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                debug!(target: "agent.mdns", %group, %error, "no listener");
                None
            }
        })
        .collect();
    if listeners.is_empty() {
        return Err(fail("no multicast listeners could be started".to_owned()));
    }
    let settings = settings.clone();
    Ok(tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        let service = Arc::new(service);
        for listener in listeners {
            tasks.spawn(answer(Arc::clone(&service), listener));
        }
        tasks.spawn(discover(agent, settings));
        while tasks.join_next().await.is_some() {}
    }))
}

/// Checks that the names of the node, the machine and the cluster can be names of DNS.
pub(in crate::agent) fn check(settings: &Settings) -> Result<(), AgentError> {
    let Some(mdns) = &settings.mdns else { return Ok(()) };
    let service = Service {
        cluster: mdns.cluster.clone(),
        instance: settings.node.name.clone(),
        host: host_name(),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    };
    let fail = |text: String| AgentError::Invalid(format!("Error starting mDNS listener: {text}"));
    service.check().map_err(|error| fail(error.to_string()))
}

/// Answers questions about one service.
async fn answer(service: Arc<Service>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(target: "agent.mdns", %error, "no question received");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for reply in service.answers(buffer.get(..len).unwrap_or_default()) {
            if let Err(error) = socket.send_to(&reply, from).await {
                debug!(target: "agent.mdns", %from, %error, "answer not sent");
            }
        }
    }
}
