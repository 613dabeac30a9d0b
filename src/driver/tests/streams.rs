//! Handles as streams.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join};

use super::{has_status, start, within};
use crate::{
    driver::{Event, EventStream, MemberWatch, QueryHandle},
    serf::{MemberStatus, QueryParams, QueryUpdate},
};

#[tokio::test]
async fn events_members_and_answers_are_streams_that_end_with_the_node() {
    fn is_shared<T: Send + Sync + Unpin>() {}
    is_shared::<EventStream>();
    is_shared::<MemberWatch>();
    is_shared::<QueryHandle>();

    let (a, b) = (start("a").await, start("b").await);
    let (mut views, mut events) = (a.watch_members().map(|members| members.len()), a.events());
    super::join(&a, &b).await;
    assert_eq!(
        within(views.by_ref().filter(|n| std::future::ready(*n == 2)).next()).await,
        Some(2)
    );
    has_status(&b, "a", MemberStatus::Alive).await;

    let mut heard = b.events();
    let params = QueryParams { timeout: Duration::from_secs(5), ..QueryParams::default() };
    let updates = a.query("q", "", params).await.unwrap();
    let answer = async {
        loop {
            if let Event::Query(query) = heard.next().await.unwrap() {
                query.respond("yes").await.unwrap();
                break;
            }
        }
        let answers = updates.filter_map(|update| {
            std::future::ready(match update {
                QueryUpdate::Response { payload, .. } => Some(payload),
                QueryUpdate::Ack { .. } | QueryUpdate::Finished { .. } => None,
            })
        });
        answers.take(1).collect::<Vec<_>>().await
    };
    assert_eq!(within(answer).await, ["yes"]);

    // Each waits, and is woken by the shutdown.
    while within(events.next()).await.is_some_and(|event| !matches!(event, Event::Query(_))) {}
    let ends = join(events.collect::<Vec<_>>(), views.collect::<Vec<_>>());
    within(join(ends, a.shutdown())).await;
}
