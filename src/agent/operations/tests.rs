use std::{fs, path::Path};

use super::*;
use crate::agent::testing::agent;

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn tags_of(agent: &Agent) -> BTreeMap<String, String> {
    let local = agent.serf.local_member().await;
    local.tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn with_file(path: &Path) -> Arc<Agent> {
    agent(&serde_json::json!({ "tags_file": path }).to_string()).await
}

#[tokio::test]
async fn tags_that_the_node_refuses_do_not_reach_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tags");
    let agent = with_file(&path).await;
    agent.update_tags(tags(&[("a", "1")]), Vec::new()).await.unwrap();
    let written = fs::read_to_string(&path).unwrap();
    let longest = (400..512).rev().find(|len| {
        let meta = tags(&[("a", &"x".repeat(*len))]);
        agent.check_tags(&meta).is_ok()
    });
    let longest = longest.unwrap();
    for len in [longest + 1, 5_000] {
        let long = "x".repeat(len);
        let refused = agent.update_tags(tags(&[("a", &long)]), Vec::new()).await.unwrap_err();
        assert_eq!(refused.to_string(), "Encoded length of tags exceeds limit of 512 bytes");
        // The node has the same limit.
        let own = agent.serf.set_tags(tags(&[("a", &long)])).await.unwrap_err();
        assert_eq!(own.to_string(), refused.to_string());
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
        assert_eq!(tags_of(&agent).await, tags(&[("a", "1")]));
    }
    let long = tags(&[("a", &"x".repeat(longest))]);
    agent.update_tags(long.clone(), Vec::new()).await.unwrap();
    assert_eq!(crate::agent::files::read_tags(&path).unwrap(), Some(long));
}

#[tokio::test]
async fn a_change_of_tags_that_nobody_waits_for_reaches_file_and_node() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tags");
    let agent = with_file(&path).await;
    let update = agent.update_tags(tags(&[("a", "1")]), Vec::new());
    // Started, and dropped at its first await.
    tokio::select! {
        biased;
        _ = update => {}
        () = std::future::ready(()) => {}
    }
    let wanted = tags(&[("a", "1")]);
    for _ in 0..2_000 {
        if path.exists() && tags_of(&agent).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("file: {}, node: {:?}", path.exists(), tags_of(&agent).await);
}

#[tokio::test]
async fn a_query_lasts_a_day_at_most() {
    let agent = agent("{}").await;
    for (asked, given) in [
        (Duration::from_secs(60), Duration::from_secs(60)),
        (Duration::from_nanos(i64::MAX as u64), QUERY_TIMEOUT_MAX),
    ] {
        let params = QueryParams { timeout: asked, ..QueryParams::default() };
        let query = agent.query(b"q", Vec::new(), params).await.unwrap();
        assert_eq!(query.timeout(), given);
    }
}
