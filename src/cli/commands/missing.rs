//! Finds the members that did not answer a query. The RPC does not report them; they are determined
//! by comparing those that answered with the list of members.

use std::collections::BTreeSet;

use super::super::output::line;
use crate::{
    client::{Client, MemberFilter, QueryEvent},
    rpc::protocol::Query,
};

/// The members that are expected to answer a query: live ones that match its filters, and those it
/// names. `None` if the agent does not list members.
pub(super) async fn expected(client: &Client, query: &Query) -> Option<BTreeSet<String>> {
    // The agent anchors these expressions, but not those of queries.
    let tags = query.filter_tags.iter().flatten();
    let tags = tags.map(|(tag, expr)| (tag.clone(), format!("(?s:.*)(?:{expr})(?s:.*)")));
    let filter =
        MemberFilter { tags: tags.collect(), status: "alive".to_owned(), name: String::new() };
    let any_tags = filter.tags.is_empty();
    let live = client.members_filtered(filter).await.ok()?;
    let live: BTreeSet<String> = live.into_iter().map(|member| member.name).collect();
    Some(match &query.filter_nodes {
        None => live,
        // Named members that are unknown or dead will not answer, either.
        Some(named) if any_tags => named.iter().cloned().collect(),
        Some(named) => named.iter().filter(|name| live.contains(*name)).cloned().collect(),
    })
}

/// Live members that do not ack a ping.
pub(super) async fn silent(client: &Client) -> Option<Vec<String>> {
    let ping = Query { name: "_serf_ping".into(), request_ack: true, ..Query::default() };
    let mut silent = expected(client, &ping).await?;
    let mut acks = client.query(ping).await.ok()?;
    while let Some(event) = acks.recv().await.ok()? {
        if let QueryEvent::Ack(from) = event {
            silent.remove(&from);
        }
    }
    Some(silent.into_iter().collect())
}

/// Prints the list below Go's text.
pub(super) fn print(what: &str, missing: &[String]) {
    if missing.is_empty() {
        return;
    }
    line(&format!("{what}:"));
    for name in missing {
        line(&format!("\t{name}"));
    }
}
