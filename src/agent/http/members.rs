//! Members, their coordinates, and targets for Prometheus. All are encoded and sent in pieces while
//! the client reads, from the list that RPC clients share.

use std::{collections::BTreeMap, sync::Arc};

use http_body_util::channel::{Channel, Sender};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::{
    answer::{self, Body, JSON, answer, encoded, refusal},
    query::{self, Parameters},
    site::Site,
};
use crate::{
    agent::ipc::{Listing, Share},
    base::go_net,
    rpc::{self, ListedMember, ListedVersions},
    serf::{Coordinate, Member},
};

/// A response, and the memory reserved for its list until it has been read.
pub(super) type Listed = (Response<Body>, Option<Arc<Share>>);

fn listed<'m>(member: &'m Member, status: &'m str) -> ListedMember<'m> {
    let [_, _, _, min, max, version] = member.vsn.0;
    ListedMember {
        name: &member.name,
        addr: rpc::endpoint(&member.addr, member.port),
        port: member.port,
        tags: member.tags.iter().collect(),
        status,
        protocol: ListedVersions { max, min, version },
    }
}

/// `/v1/members`
pub(super) async fn members(site: &Site, mut all: Parameters) -> Listed {
    let request = all.take_members().and_then(|request| all.end().map(|()| request));
    let filter = match request.and_then(|request| query::filter(&request)) {
        Ok(filter) => filter,
        Err(reason) => return wrong(&reason),
    };
    let listing = site.shared.lists.get(&site.agent.serf, filter.map(Arc::new)).await;
    in_pieces(listing, "{\"members\":[", "]}", |member| {
        Some(encoded(&listed(member, &member.status.to_string())))
    })
}

/// `/v1/members/NAME`
pub(super) async fn member(site: &Site, name: &str) -> Response<Body> {
    match site.agent.serf.member(name).await {
        Some(member) => answer::json(StatusCode::OK, &listed(&member, &member.status.to_string())),
        None => refusal(StatusCode::NOT_FOUND, "no such member"),
    }
}

/// `/v1/coordinates`
pub(super) async fn coordinates(site: &Arc<Site>, mut all: Parameters) -> Listed {
    let request = all.take_members().and_then(|request| all.end().map(|()| request));
    let filter = match request.and_then(|request| query::filter(&request)) {
        Ok(filter) => filter,
        Err(reason) => return wrong(&reason),
    };
    let mut listing = site.shared.lists.get(&site.agent.serf, filter.map(Arc::new)).await;
    let share = listing.share();
    let (mut sender, body) = Channel::new(1);
    let serf = site.agent.serf.clone();
    tokio::spawn(async move {
        let mut pieces = Pieces::new("{\"coordinates\":[");
        let mut more = true;
        while more {
            let mut names = Vec::new();
            more = listing.visit_next(|member| names.push(Arc::clone(&member.name)));
            for name in names {
                if let Some(Coordinate { vec, error, adjustment, height }) =
                    serf.coordinate(&name).await
                {
                    pieces.add(&encoded(&json!({
                        "node": *name, "vec": vec, "error": error, "adjustment": adjustment,
                        "height": height,
                    })));
                }
            }
            if !pieces.send(&mut sender, if more { "" } else { "]}" }).await {
                return;
            }
        }
    });
    (answer(StatusCode::OK, JSON, Body::Right(body)), share)
}

/// `/v1/sd/prometheus`, for `http_sd_configs`.
pub(super) async fn targets(site: &Site, mut all: Parameters) -> Listed {
    let (filter, port) = match parse_targets(&mut all).and_then(|found| all.end().map(|()| found)) {
        Ok(found) => found,
        Err(reason) => return wrong(&reason),
    };
    let listing = site.shared.lists.get(&site.agent.serf, filter.map(Arc::new)).await;
    in_pieces(listing, "[", "]", move |member| target(member, &port))
}

/// Source of a target's port.
enum Port {
    Number(u16),
    Tag(String),
}

fn parse_targets(
    all: &mut Parameters,
) -> Result<(Option<crate::agent::ipc::MemberFilter>, Port), String> {
    let port = match (all.take("port")?, all.take("port_tag")?) {
        (Some(port), None) => {
            let number = port.parse().ok().filter(|port| *port > 0);
            Port::Number(number.ok_or_else(|| format!("invalid port {port:?}"))?)
        }
        (None, Some(tag)) => Port::Tag(tag),
        _ => return Err("exactly one of port and port_tag is required".to_owned()),
    };
    let mut request = all.take_members()?;
    if request.status.is_empty() {
        "alive".clone_into(&mut request.status);
    }
    Ok((query::filter(&request)?, port))
}

/// Encodes a group with one target; `None` if the member has no valid port tag or no address.
fn target(member: &Member, port: &Port) -> Option<Vec<u8>> {
    let port = match port {
        Port::Number(port) => *port,
        Port::Tag(tag) => member.tags.get(tag)?.parse().ok().filter(|port| *port > 0)?,
    };
    let host = member.addr()?.ip().to_canonical().to_string();
    let mut labels = BTreeMap::from([
        ("__meta_serf_name".to_owned(), member.name.to_string()),
        ("__meta_serf_status".to_owned(), member.status.to_string()),
    ]);
    for (tag, value) in member.tags.iter() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let tag: String = tag.chars().map(|c| if is_part(c) { c } else { '_' }).collect();
        labels.insert(format!("__meta_serf_tag_{tag}"), value.to_owned());
    }
    let target = go_net::join_host_port(&host, port);
    Some(encoded(&json!({ "targets": [target], "labels": labels })))
}

fn wrong(reason: &str) -> Listed {
    (refusal(StatusCode::BAD_REQUEST, reason), None)
}

/// Encodes a list between `begin` and `end` while the client reads it.
fn in_pieces(
    mut listing: Listing,
    begin: &'static str,
    end: &'static str,
    encode: impl Fn(&Member) -> Option<Vec<u8>> + Send + 'static,
) -> Listed {
    let share = listing.share();
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let mut pieces = Pieces::new(begin);
        let mut more = true;
        while more {
            more = listing.visit_next(|member| {
                if let Some(value) = encode(member) {
                    pieces.add(&value);
                }
            });
            if !pieces.send(&mut sender, if more { "" } else { end }).await {
                return;
            }
        }
    });
    (answer(StatusCode::OK, JSON, Body::Right(body)), share)
}

/// Encoded values of a list, separated by commas.
struct Pieces {
    out: Vec<u8>,
    has_values: bool,
}

impl Pieces {
    fn new(begin: &str) -> Self {
        Self { out: begin.as_bytes().to_vec(), has_values: false }
    }

    fn add(&mut self, value: &[u8]) {
        if std::mem::replace(&mut self.has_values, true) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(value);
    }

    /// Sends the buffered text; returns false if the client has disconnected.
    async fn send(&mut self, to: &mut Sender<bytes::Bytes>, end: &str) -> bool {
        self.out.extend_from_slice(end.as_bytes());
        let out = std::mem::take(&mut self.out);
        if out.is_empty() {
            // A filter may skip many members: lets other tasks run.
            tokio::task::yield_now().await;
            return true;
        }
        to.send_data(out.into()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::MemberStatus;

    #[test]
    fn targets_have_the_shape_that_prometheus_reads() {
        let member = Member {
            name: "n 1".into(),
            addr: [10, 0, 0, 1].into(),
            port: 7946,
            tags: [("metrics-port", "9100"), ("role", "web")].into(),
            status: MemberStatus::Alive,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
        };
        let read = |port: &Port| {
            let group = target(&member, port)?;
            Some(serde_json::from_slice::<serde_json::Value>(&group).unwrap())
        };
        let expected = json!({
            "targets": ["10.0.0.1:9100"],
            "labels": {
                "__meta_serf_name": "n 1",
                "__meta_serf_status": "alive",
                "__meta_serf_tag_metrics_port": "9100",
                "__meta_serf_tag_role": "web",
            },
        });
        assert_eq!(read(&Port::Tag("metrics-port".into())), Some(expected));
        assert_eq!(read(&Port::Number(80)).unwrap()["targets"], json!(["10.0.0.1:80"]));
        // A member without the tag, or with something else in it, is no target.
        assert_eq!(read(&Port::Tag("port".into())), None);
        assert_eq!(read(&Port::Tag("role".into())), None);
    }
}
