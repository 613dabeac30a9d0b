use super::*;
use crate::agent::{log::Level, testing::agent};

#[tokio::test]
async fn a_reload_that_fails_leaves_tags_to_be_deleted_by_the_next() {
    let agent = agent(r#"{"tags":{"old":"1","same":"1"}}"#).await;
    let ui = Ui { hub: LogHub::start(Level::Err, false) };
    let mut flags = Reloadable {
        leave_on_terminate: false,
        skip_leave_on_interrupt: false,
        tags: agent.settings.tags.clone(),
    };
    let mut reload_with = async |tags: serde_json::Value| {
        let json = serde_json::json!({ "node_name": "n", "tags": tags }).to_string();
        let read = || Ok(FileConfig::decode(json.as_bytes()).unwrap());
        reload(&agent, &ui, &mut flags, &read).await;
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
    let mut flags = Reloadable {
        leave_on_terminate: false,
        skip_leave_on_interrupt: false,
        tags: BTreeMap::new(),
    };
    let json = r#"{"node_name":"n","log_level":"loud","leave_on_terminate":true}"#;
    reload(&agent, &ui, &mut flags, &|| Ok(FileConfig::decode(json.as_bytes()).unwrap())).await;
    assert!(flags.leave_on_terminate);
}

#[tokio::test]
async fn handlers_and_log_get_the_first_event_of_all() {
    let mut config = FileConfig::default();
    config.set_text("node_name", "n");
    config.set_text("bind", "127.0.0.1:0");
    let (settings, _) = Settings::build(config).unwrap();
    let (serf, mut handlers, mut log_events) =
        start(&settings, Descriptors::raise()).await.unwrap();
    for events in [&mut handlers, &mut log_events] {
        let first = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap();
        let Some(Event::Member(event)) = first else { panic!("{first:?}") };
        assert_eq!((event.kind.to_string(), &*event.members[0].name), ("member-join".into(), "n"));
    }
    serf.shutdown().await;
}
