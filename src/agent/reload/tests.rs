use super::*;
use crate::agent::{
    log::{Level, LogHub},
    testing::agent,
};

#[tokio::test]
async fn a_reload_that_fails_leaves_tags_to_be_deleted_by_the_next() {
    let agent = agent(r#"{"tags":{"old":"1","same":"1"}}"#).await;
    let ui = Ui { hub: LogHub::start(Level::Err, false) };
    let mut current = agent.settings.reloadable.clone();
    let mut reload_with = async |tags: serde_json::Value| {
        let json = serde_json::json!({ "node_name": "n", "tags": tags }).to_string();
        let read = || Ok(FileConfig::decode(json.as_bytes()).unwrap());
        reload(&agent, &ui, &mut current, &read).await;
        let local = agent.serf.local_member().await;
        local.tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let refused = reload_with(serde_json::json!({ "same": "2", "big": "x".repeat(600) })).await;
    assert_eq!(refused, ["old=1", "same=1"]);
    let changed = reload_with(serde_json::json!({ "same": "2", "new": "1" })).await;
    assert_eq!(changed, ["new=1", "same=2"]);
}

#[tokio::test]
async fn a_reload_with_a_wrong_level_keeps_the_old_one_and_does_the_rest() {
    let agent = agent("{}").await;
    let ui = Ui { hub: LogHub::start(Level::Err, false) };
    let mut current = agent.settings.reloadable.clone();
    let json = r#"{"node_name":"n","log_level":"loud","leave_on_terminate":true}"#;
    reload(&agent, &ui, &mut current, &|| Ok(FileConfig::decode(json.as_bytes()).unwrap())).await;
    assert!(current.leave_on_terminate);
}

// parity: agent-life: SIGHUP takes over retry_join
#[tokio::test]
async fn a_reload_changes_which_members_are_joined() {
    let agent = agent(r#"{"retry_join":["a"]}"#).await;
    let ui = Ui { hub: LogHub::start(Level::Err, false) };
    let mut current = agent.settings.reloadable.clone();
    let mut changed = async |addrs: serde_json::Value| {
        let json = serde_json::json!({ "node_name": "n", "retry_join": addrs }).to_string();
        let before = current.retry.clone();
        let read = || Ok(FileConfig::decode(json.as_bytes()).unwrap());
        reload(&agent, &ui, &mut current, &read).await;
        (current.retry != before, current.retry.adds_to(&before))
    };
    assert_eq!(changed(serde_json::json!(["a"])).await, (false, false));
    assert_eq!(changed(serde_json::json!(["a", "b"])).await, (true, true));
    assert_eq!(changed(serde_json::json!(["b"])).await, (true, false));
}

#[tokio::test]
async fn a_reload_with_another_token_says_that_the_old_one_stays() {
    let agent = agent(r#"{"rpc_auth":"old"}"#).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let changes = |rpc_auth: &str| {
        let json = serde_json::json!({ "rpc_auth": rpc_auth }).to_string();
        changes_token(&FileConfig::decode(json.as_bytes()).unwrap(), &agent.settings)
    };
    assert!(!changes("old") && changes("new") && changes(""));
    let file = format!("@{}", path.display());
    for (token, changed) in [("old\n", false), ("new\n", true)] {
        std::fs::write(&path, token).unwrap();
        assert_eq!(changes(&file), changed, "{token}");
    }
    assert!(agent.auth.authenticate(b"new").is_none() && agent.auth.authenticate(b"old").is_some());
}
