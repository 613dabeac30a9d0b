//! Liveness and readiness of the agent.

use std::time::Duration;

use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::{
    answer::{Body, json as answer},
    watch::{Reason, Watch},
};
use crate::{agent::operations::Agent, driver::Counters, serf::SerfState, wire::limits};

/// Whether the engine answers.
pub(super) async fn live(agent: &Agent) -> Response<Body> {
    match timeout(ENGINE_TIME, agent.serf.counters()).await {
        Ok(Ok(_)) => answer(StatusCode::OK, &json!({ "live": true })),
        Ok(Err(_)) => failed("live", &[shut_down()]),
        Err(_) => failed("live", &[busy()]),
    }
}

/// Whether the node is part of the cluster and healthy.
pub(super) async fn ready(agent: &Agent, watch: &Watch) -> Response<Body> {
    let reasons = all_reasons(agent, watch).await;
    if reasons.is_empty() {
        return answer(StatusCode::OK, &json!({ "ready": true, "reasons": [] }));
    }
    failed("ready", &reasons)
}

/// All reasons for which the node is not ready.
pub(super) async fn all_reasons(agent: &Agent, watch: &Watch) -> Vec<Reason> {
    let reasons = timeout(ENGINE_TIME, reasons(agent)).await;
    let mut reasons = reasons.unwrap_or_else(|_| vec![busy()]);
    if agent.serf.state() == SerfState::Alive {
        reasons.extend(watch.reasons());
    }
    reasons
}

fn failed(what: &str, reasons: &[Reason]) -> Response<Body> {
    answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ what: false, "reasons": reasons }))
}

fn busy() -> Reason {
    let detail = format!("the engine has not answered for {} s", ENGINE_TIME.as_secs());
    Reason { reason: "busy", detail }
}

fn shut_down() -> Reason {
    Reason { reason: "shutdown", detail: "the node has stopped".to_owned() }
}

async fn reasons(agent: &Agent) -> Vec<Reason> {
    match agent.serf.state() {
        SerfState::Alive => {}
        SerfState::Leaving => return vec![leaving("leaving", "the node is leaving the cluster")],
        SerfState::Left => return vec![leaving("left", "the node has left the cluster")],
        SerfState::Shutdown => return vec![shut_down()],
    }
    let Ok(counters) = agent.serf.counters().await else { return vec![shut_down()] };
    let figures = Figures::of(agent).await;
    let mut reasons = Vec::new();
    reasons.extend(alone(agent, &figures));
    reasons.extend(near_limit(&counters));
    if agent.serf.keys_unwritten().await {
        let detail = "the newest keys could not be written to the keyring file".to_owned();
        reasons.push(Reason { reason: "keyring_not_written", detail });
    }
    reasons
}

fn leaving(reason: &'static str, detail: &str) -> Reason {
    Reason { reason, detail: detail.to_owned() }
}

/// The node is alone, although it has seeds or knew other members.
fn alone(agent: &Agent, figures: &Figures) -> Option<Reason> {
    let settings = &agent.settings;
    let seeds = settings.start_join.len() + settings.reloadable.retry.addrs.len();
    let is_expected = seeds > 0 || settings.mdns.is_some() || figures.failed > 0;
    if figures.alive > 1 || !is_expected {
        return None;
    }
    let failed = figures.failed;
    let detail = format!("no other member is alive; failed: {failed}, addresses to join: {seeds}");
    Some(Reason { reason: "alone", detail })
}

/// Our state is close to the size that peers accept in a push/pull.
fn near_limit(counters: &Counters) -> Option<Reason> {
    let (size, limit) = (counters.swim.local_state_bytes, PUSH_PULL_BYTES_MAX as u64);
    (size >= limit / 10 * 9).then(|| Reason {
        reason: "push_pull_near_limit",
        detail: format!("the state for push/pulls has {size} of {limit} bytes"),
    })
}

/// Numbers of members.
pub(super) struct Figures {
    pub(super) alive: u64,
    pub(super) failed: u64,
    pub(super) left: u64,
    /// Statistics under Go's keys.
    pub(super) stats: std::collections::BTreeMap<String, String>,
}

impl Figures {
    pub(super) async fn of(agent: &Agent) -> Self {
        let stats = agent.serf.stats().await;
        let number = |key| stats.get(key).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        let (all, failed, left) = (number("members"), number("failed"), number("left"));
        Self { alive: all.saturating_sub(failed + left), failed, left, stats }
    }

    /// A number from the statistics.
    pub(super) fn number(&self, key: &str) -> f64 {
        self.stats.get(key).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// All possible reasons, for metrics.
pub(super) const REASONS: [&str; 9] = [
    "alone",
    "busy",
    "clock_refused",
    "keyring_not_written",
    "leaving",
    "left",
    "probes_need_tcp",
    "push_pull_near_limit",
    "shutdown",
];
/// Largest state that peers accept, in bytes.
pub(super) const PUSH_PULL_BYTES_MAX: usize = limits::STREAM_BYTES_MAX;
/// Time limit for an answer of the engine.
const ENGINE_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
        thread,
    };

    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;
    use crate::{
        agent::testing::{agent, agent_with},
        driver::Config,
        serf::{Member, MergeDelegate},
    };

    async fn reasons_of(agent: &Agent) -> Vec<&'static str> {
        reasons(agent).await.into_iter().map(|reason| reason.reason).collect()
    }

    fn watch(agent: &Arc<Agent>) -> Watch {
        Watch::start(Arc::clone(agent))
    }

    #[tokio::test]
    async fn each_reason_is_given_while_it_holds() {
        let one = agent("{}").await;
        assert!(reasons_of(&one).await.is_empty());
        assert_eq!(ready(&one, &watch(&one)).await.status(), StatusCode::OK);
        // It has addresses to join, and is alone until it has joined one.
        let seeds = r#"{"retry_join":["127.0.0.1:1"]}"#;
        let two = agent_with(seeds, |config| config.name = "two".into()).await;
        assert_eq!(reasons_of(&two).await, ["alone"]);
        assert_eq!(ready(&two, &watch(&two)).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        let addr = one.serf.addresses().advertised.to_string();
        two.serf.join([addr]).await.unwrap();
        assert!(reasons_of(&two).await.is_empty());
        two.serf.leave().await.unwrap();
        // The state is published right after the leave is answered.
        let left = async {
            while reasons_of(&two).await == ["leaving"] {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), left).await.expect("it has left");
        assert_eq!(reasons_of(&two).await, ["left"]);
        assert_eq!(live(&two).await.status(), StatusCode::OK);
        two.serf.shutdown().await;
        assert_eq!(reasons_of(&two).await, ["shutdown"]);
        assert_eq!(live(&two).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    /// Occupies the engine's thread as long as the value is true.
    struct Occupied(Arc<AtomicBool>);

    impl MergeDelegate for Occupied {
        fn check_merge(&self, _: &[Member]) -> Result<(), String> {
            while self.0.load(SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_engine_that_does_not_answer_is_a_reason_until_it_does() {
        let occupied = Arc::new(AtomicBool::new(false));
        let delegate = Occupied(Arc::clone(&occupied));
        let change = |config: &mut Config| *config = config.clone().merge_delegate(delegate);
        let agent = agent_with("{}", change).await;
        let watch = watch(&agent);
        assert_eq!(ready(&agent, &watch).await.status(), StatusCode::OK);
        assert_eq!(live(&agent).await.status(), StatusCode::OK);
        let peer = agent_with("{}", |config| config.name = "peer".into()).await;
        occupied.store(true, SeqCst);
        let addr = peer.serf.addresses().advertised.to_string();
        let joining = tokio::spawn({
            let agent = Arc::clone(&agent);
            async move { agent.serf.join([addr]).await }
        });
        // Until its engine meets the peer, it answers.
        let unready = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let answer = ready(&agent, &watch).await;
                if answer.status() != StatusCode::OK {
                    return answer;
                }
            }
        });
        let (unready, dead) = (unready.await.expect("it is unready"), live(&agent).await);
        for (answer, what) in [(unready, "ready"), (dead, "live")] {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let reasons = json!([{ "reason": "busy", "detail": busy().detail }]);
            assert_eq!(body, json!({ what: false, "reasons": reasons }));
        }
        occupied.store(false, SeqCst);
        joining.await.unwrap().unwrap();
        assert_eq!(ready(&agent, &watch).await.status(), StatusCode::OK);
        assert_eq!(live(&agent).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_state_near_its_limit_is_a_reason() {
        let agent = agent("{}").await;
        let mut counters = agent.serf.counters().await.unwrap();
        counters.swim.local_state_bytes = 17 << 20;
        assert_eq!(near_limit(&counters), None);
        counters.swim.local_state_bytes = 19 << 20;
        assert_eq!(near_limit(&counters).unwrap().reason, "push_pull_near_limit");
    }
}
