//! Who has not answered: the agent's RPC does not tell, so that it is compared with the members.

use std::collections::BTreeSet;

use super::super::output::line;
use crate::{
    client::{Client, MemberFilter},
    rpc::protocol::Query,
};

/// The members that a query will be answered by if all is well: the live ones that its filters let
/// through, and those that it names. `None` if the agent does not tell.
pub(super) async fn expected(client: &Client, query: &Query) -> Option<BTreeSet<String>> {
    // The agent anchors its expressions, a query's are not.
    let tags = query.filter_tags.iter().flatten();
    let tags = tags.map(|(tag, expr)| (tag.clone(), format!("(?s:.*)(?:{expr})(?s:.*)")));
    let filter =
        MemberFilter { tags: tags.collect(), status: "alive".to_owned(), name: String::new() };
    let any_tags = filter.tags.is_empty();
    let live = client.members_filtered(filter).await.ok()?;
    let live: BTreeSet<String> = live.into_iter().map(|member| member.name).collect();
    Some(match &query.filter_nodes {
        None => live,
        // Who is unknown or dead will not answer either.
        Some(named) if any_tags => named.iter().cloned().collect(),
        Some(named) => named.iter().filter(|name| live.contains(*name)).cloned().collect(),
    })
}

/// Below the text that Go prints.
pub(super) fn print(what: &str, missing: &[String]) {
    if missing.is_empty() {
        return;
    }
    line(&format!("{what}:"));
    for name in missing {
        line(&format!("\t{name}"));
    }
}
