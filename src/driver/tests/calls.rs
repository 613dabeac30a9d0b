//! What callers may rely on: no lost change of tags, key operations that fail unless all nodes have
//! performed them, and errors instead of panics.

use super::*;
use crate::{
    serf::{KeyRefusal, Member},
    transport::NetTransport,
};

const NEW: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
const OLD: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

#[tokio::test]
async fn changes_of_tags_at_one_time_are_all_kept() {
    let a = start("a").await;
    a.set_tags([("role", "web"), ("old", "x")]).await.unwrap();
    let change = |number: usize| {
        let a = a.clone();
        tokio::spawn(async move {
            let name = format!("tag-{number}");
            a.update_tags(move |tags| drop(tags.insert(name, "x".to_owned()))).await
        })
    };
    let changes: Vec<_> = (0..8).map(change).collect();
    a.update_tags(|tags| drop(tags.remove("old"))).await.unwrap();
    for change in changes {
        within(change).await.unwrap().unwrap();
    }
    let tags = a.local_member().await.tags.clone();
    assert_eq!((tags.len(), &tags["role"], tags.get("old")), (9, "web", None), "{tags:?}");
    let web = a.members_where(|member: &Member| member.tag("role") == Some("web")).await;
    assert_eq!(web.len(), 1);
    assert!(a.members_where(|member| !member.is_alive()).await.is_empty());
}

/// Two nodes with one key; they do not probe, so one that is gone stays listed.
async fn keyed_pair() -> (Serf, Serf) {
    let keyed = async |name: &str| {
        let mut builder = builder(name);
        builder.config.keyring = Keyring::from_base64([OLD]).unwrap();
        builder.config.timing.probe_interval = Duration::ZERO;
        // 2 s for an answer, on a busy machine.
        builder.config.timing.query_timeout_mult = 100;
        builder.start().await.unwrap()
    };
    let (a, b) = (keyed("a").await, keyed("b").await);
    join(&b, &a).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    (a, b)
}

#[tokio::test]
async fn a_key_that_nodes_refuse_is_an_error_with_their_reasons() {
    let (a, _b) = keyed_pair().await;
    let refused = within(a.key_manager().remove(OLD)).await;
    let Err(Error::Keys(failure)) = refused else { panic!("{refused:?}") };
    let refusals: Vec<_> = failure.refusals().collect();
    let primary = KeyRefusal::RemovingPrimary;
    assert_eq!(refusals, [("a", primary.clone()), ("b", primary)]);
    assert_eq!(Error::Keys(failure).to_string(), "2/2 nodes reported failure");
    let invalid = a.key_manager().rotate("no key").await;
    assert!(matches!(invalid, Err(Error::InvalidKey(_))), "{invalid:?}");
}

#[tokio::test]
async fn rotation_goes_on_only_while_every_node_takes_part() {
    let (a, b) = keyed_pair().await;
    let listed = within(a.key_manager().rotate(NEW)).await.unwrap();
    assert_eq!(listed.keys, BTreeMap::from([(NEW.to_owned(), 2)]));
    assert_eq!(listed.primary_keys, BTreeMap::from([(NEW.to_owned(), 2)]));

    b.shutdown().await;
    let stopped = within(a.key_manager().rotate(OLD)).await;
    let Err(Error::Keys(failure)) = stopped else { panic!("{stopped:?}") };
    assert_eq!(failure.response.missing, ["b".into()]);
    assert_eq!(failure.summary, "1/2 nodes reported success");
    let listed = within(a.key_manager().list()).await;
    let Err(Error::Keys(failure)) = listed else { panic!("{listed:?}") };
    // Installed, and neither used nor the other one removed.
    assert_eq!(failure.response.primary_keys, BTreeMap::from([(NEW.to_owned(), 1)]));
    assert_eq!(failure.response.keys.len(), 2);
}

#[cfg(not(feature = "smol"))]
#[test]
fn start_outside_a_runtime_is_an_error() {
    /// Polls once, in no runtime.
    fn poll<T>(future: impl Future<Output = T>) -> std::task::Poll<T> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut cx)
    }
    for builder in [builder("a"), builder("a").own_thread(true)] {
        let started = poll(builder.start());
        let std::task::Poll::Ready(Err(Error::NoRuntime)) = started else {
            panic!("{started:?}");
        };
    }
    let bound = NetTransport::bind(([127, 0, 0, 1], 0).into());
    assert!(bound.unwrap_err().to_string().ends_with("there is no runtime"));
}

#[tokio::test]
async fn every_error_of_a_call_becomes_ours_without_saying_anything_twice() {
    fn ours(error: impl Into<Error> + std::error::Error) -> Error {
        let text = error.to_string();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.is_none_or(|source| !text.contains(&source)), "twice: {text}");
        error.into()
    }
    let key = ours(Keyring::default().add_key(b"short").unwrap_err());
    assert_eq!(key.to_string(), "Failed to restore keyring: key size must be 16, 24 or 32 bytes");
    let no_keys: [&str; 0] = [];
    assert!(matches!(ours(Keyring::from_base64(no_keys).unwrap_err()), Error::Keyring(_)));
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = NetTransport::bind(held.local_addr().unwrap());
    let bound = ours(bound.unwrap_err());
    assert!(bound.to_string().ends_with("bind: address already in use"), "{bound}");
    assert!(std::error::Error::source(&bound).is_none());
}
