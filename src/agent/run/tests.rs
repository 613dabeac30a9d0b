use super::*;
use crate::{
    agent::testing::agent_with,
    driver::{Event, Name},
    serf::{AliveDelegate, Member, MemberEventKind},
};

#[test]
fn public_addresses_are_distinguished_from_private_ones() {
    let public = |text: &str| is_public(text.parse().unwrap());
    for ip in ["8.8.8.8", "203.0.113.7", "100.63.0.1", "2001:db8::1", "::ffff:9.9.9.9"] {
        assert!(public(ip), "{ip}");
    }
    for ip in ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1"] {
        assert!(!public(ip), "{ip}");
    }
    for ip in ["::1", "fd00::1", "fe80::1", "0.0.0.0", "::", "::ffff:10.0.0.1"] {
        assert!(!public(ip), "{ip}");
    }
}

#[tokio::test]
async fn handlers_and_log_get_the_first_event_of_all() {
    let config = FileConfig {
        node_name: Some("n".to_owned()),
        bind: Some("127.0.0.1:0".to_owned()),
        event_handlers: vec!["true".to_owned()],
        ..FileConfig::default()
    };
    let settings = Settings::build(config, &mut Notices::default()).unwrap();
    let (serf, handlers, mut heard) = start(&settings, Descriptors::raise()).await.unwrap();
    let wait = Duration::from_secs(20);
    let first = tokio::time::timeout(wait, handlers.unwrap().recv()).await.unwrap();
    let Some(Event::Member(event)) = first else { panic!("{first:?}") };
    assert_eq!((event.kind.to_string(), &*event.members[0].name), ("member-join".into(), "n"));
    let mut names = Vec::new();
    assert!(tokio::time::timeout(wait, heard.recv_all(&mut names)).await.unwrap());
    assert_eq!(names, [Name::Member(MemberEventKind::Join)]);
    serf.shutdown().await;
}

/// A service manager must see the failure to restart the agent.
#[tokio::test]
async fn a_panic_of_the_engine_ends_the_agent_with_code_1_and_a_shutdown_with_0() {
    /// Panics when it sees `b`, on the engine's thread.
    struct Broken;
    impl AliveDelegate for Broken {
        fn check_alive(&self, member: &Member) -> Result<(), String> {
            assert_ne!(&*member.name, "b", "a bug");
            Ok(())
        }
    }
    let broken = agent_with("{}", |config| config.delegates.alive = Some(Arc::new(Broken))).await;
    let healthy = agent_with("{}", |config| config.name = "b".into()).await;
    let ended = tokio::spawn({
        let broken = Arc::clone(&broken);
        async move { node_ended(&broken).await }
    });
    // The join may fail, as the panic may come before the answer.
    let _ = healthy.serf.join([broken.serf.addresses().advertised.to_string()]).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert_eq!(ended.unwrap().unwrap(), 1);
    healthy.serf.shutdown().await;
    assert_eq!(node_ended(&healthy).await, 0);
}
