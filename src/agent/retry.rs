//! Retries joins until a member answers.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tracing::{error, info, warn};

use super::{
    operations::Agent,
    seeds::{self, Source, Trust},
    settings::Retry,
};
use crate::base::{go_duration::GoDuration, printable_text};

/// Retries until an address answers, resolving the seeds each time, and then keeps resolving seeds
/// that can change; returns false if `max` retries failed.
pub(super) async fn retry_join(agent: &Agent, retry: Retry) -> bool {
    if retry.addrs.is_empty() {
        return true;
    }
    let mut attempt = 0;
    loop {
        info!(target: "agent", "Joining cluster...(replay: {})", retry.replay);
        let error = match agent.join_seeds(&retry.addrs, retry.replay, Trust::Local).await {
            Ok(count) => {
                info!(target: "agent", "Join completed. Synced with {count} initial agents");
                keep_joined(agent, &retry).await;
                return true;
            }
            Err(error) => error.to_string(),
        };
        attempt += 1;
        if retry.max > 0 && attempt > retry.max {
            error!(target: "agent", "maximum retry join attempts made, exiting");
            return false;
        }
        let tail = format!(", retrying in {}", GoDuration::from(retry.interval));
        warn!(target: "agent", list = error.as_str(), tail, "Join failed: ");
        tokio::time::sleep(retry.interval).await;
    }
}

/// Periodically resolves the seeds that can change and joins addresses that are not members.
/// Returns at once if no seed can change.
async fn keep_joined(agent: &Agent, retry: &Retry) {
    let is_fixed = |seed: &String| {
        matches!(Source::parse(seed, Trust::Local), Ok(Source::Address(_)) | Err(_))
    };
    let interval = agent.settings.rejoin_interval;
    if interval.is_zero() || retry.addrs.iter().all(is_fixed) {
        return;
    }
    let changing: Vec<String> =
        retry.addrs.iter().filter(|seed| !is_fixed(seed)).cloned().collect();
    loop {
        tokio::time::sleep(jittered(interval)).await;
        let found = seeds::find(&changing, Trust::Local).await;
        for error in &found.errors {
            let error = printable_text(error, ERROR_BYTES_MAX);
            warn!(target: "agent", "Failed to look up seeds: {error}");
        }
        let port = agent.serf.addresses().advertised.port();
        let members = agent.serf.roster().await;
        let known: BTreeSet<String> = members
            .iter()
            .filter_map(|member| member.addr())
            .flat_map(|addr| [addr.to_string(), host_of(addr, port)])
            .collect();
        let unknown: Vec<String> =
            found.addrs.into_iter().filter(|addr| !known.contains(addr)).collect();
        if !unknown.is_empty() {
            info!(target: "agent", "Seeds name {} addresses of no member", unknown.len());
            // The join logs its result.
            let _ = agent.join(&unknown, false).await;
        }
    }
}

/// The text of a seed for an address, without the port if that is the default.
fn host_of(addr: SocketAddr, port: u16) -> String {
    match addr.ip() {
        _ if addr.port() != port => String::new(),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip => ip.to_string(),
    }
}

/// The interval, randomly changed by up to a fifth, so that the agents of a cluster do not all ask
/// at once.
fn jittered(interval: Duration) -> Duration {
    let mut byte = [128];
    let _ = rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut byte);
    interval.mul_f64(0.8 + 0.4 * f64::from(byte[0]) / 255.0)
}

const ERROR_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_by_a_fifth_at_most() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(10));
            assert!((8.0..=12.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
    }
}
