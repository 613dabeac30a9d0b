//! `/metrics`

use hyper::{Response, StatusCode};

use super::{
    answer::{Body, answer, whole},
    health::{Figures, PUSH_PULL_BYTES_MAX, REASONS, all_reasons},
    site::Site,
};

/// Renders all metrics. Some gauges are computed only here, when a scraper asks for them.
pub(super) async fn metrics(site: &Site) -> Response<Body> {
    let (scraped, figures) = (&site.scraped, Figures::of(&site.agent).await);
    let Figures { alive, failed, left, .. } = figures;
    for (status, count) in [("alive", alive), ("failed", failed), ("left", left)] {
        scraped.set("serf.members", Some(("status", status)), count as f64);
    }
    for queue in ["intent", "event", "query"] {
        let depth = figures.number(&format!("{queue}_queue"));
        scraped.set("serf.queue.depth", Some(("queue", queue)), depth);
    }
    for clock in ["member", "event", "query"] {
        let time = figures.number(&format!("{clock}_time"));
        scraped.set("serf.lamport.time", Some(("clock", clock)), time);
    }
    let encrypted = figures.stats.get("encrypted").is_some_and(|text| text == "true");
    scraped.set("serf.encrypted", None, f64::from(u8::from(encrypted)));
    scraped.set("memberlist.size.limit", None, PUSH_PULL_BYTES_MAX as f64);
    let reasons = all_reasons(&site.agent, &site.watch).await;
    for name in REASONS {
        let holds = reasons.iter().any(|reason| reason.reason == name);
        scraped.set("agent.not_ready", Some(("reason", name)), f64::from(u8::from(holds)));
    }
    answer(StatusCode::OK, OPEN_METRICS, whole(scraped.render()))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
