//! `serf members`

use serde::Serialize;

use super::{
    super::output::{columns, line},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, expression,
    failed, flag, print, tags,
};
use crate::{
    client::MemberFilter,
    rpc::{self, ListedMember, ListedVersions, protocol::Member},
};

pub(super) const MEMBERS: CommandSpec = CommandSpec {
    name: "members",
    synopsis: "Lists the members of a Serf cluster",
    arguments: "[options]",
    about: "Lists the members that an agent knows, with address, status (alive, leaving, left or \
            failed) and tags. Use it to see who is in the cluster, or to select members by \
            status, name or tags in a script.\n\n\
            Exits with 0, also if no member matches, or with 1 if the agent does not answer.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let mut filter = MemberFilter {
        tags: tags(&args.list("tag"))?,
        status: args.text("status").unwrap_or_default().to_owned(),
        name: args.text("name").unwrap_or_default().to_owned(),
    };
    if let Some(role) = args.text("role").filter(|role| !role.is_empty()) {
        line("Deprecation warning: 'Role' has been replaced with 'Tags'");
        filter.tags.insert("role".to_owned(), role.to_owned());
    }
    // The agent anchors them in the same way.
    let given = [("name", &filter.name), ("status", &filter.status)];
    let tags = filter.tags.values().map(|expr| ("tag", expr));
    for (flag, expr) in given.into_iter().chain(tags) {
        expression(flag, expr, true)?;
    }
    block_on(async {
        let client = connect(args).await?;
        let mut members =
            client.members_filtered(filter).await.map_err(failed("Error retrieving members"))?;
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let rows: Vec<_> =
            members.iter().map(|member| row(member, args.bool("detailed"))).collect();
        let members: Vec<_> = members.iter().map(listed).collect();
        // Go's list is nil when it is empty.
        let members = Some(members).filter(|members| !members.is_empty());
        print(args, columns(&rows).trim(), &Listing { members })
    })
}

fn row(member: &Member, detailed: bool) -> String {
    let tags: Vec<_> = member.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut row = format!("{}|{}|{}|{}", member.name, addr(member), member.status, tags.join(","));
    if detailed {
        row.push_str(&format!(
            "|Protocol Version: {}|Available Protocol Range: [{}, {}]",
            member.delegate_cur, member.delegate_min, member.delegate_max
        ));
    }
    row
}

/// The output of `-format json`; the field names are Go's.
#[derive(Serialize)]
struct Listing<'m> {
    members: Option<Vec<ListedMember<'m>>>,
}

fn listed(member: &Member) -> ListedMember<'_> {
    ListedMember {
        name: &member.name,
        addr: addr(member),
        port: member.port,
        tags: member.tags.iter().map(|(tag, value)| (tag.as_str(), value.as_str())).collect(),
        status: &member.status,
        protocol: ListedVersions {
            max: member.delegate_max,
            min: member.delegate_min,
            version: member.delegate_cur,
        },
    }
}

fn addr(member: &Member) -> String {
    rpc::endpoint(&member.addr.0, member.port)
}

const FLAGS: &[Flag] = &[
    flag("detailed", Kind::Bool, "", "Also show protocol versions (in text)."),
    flag("name", Kind::Text, "<regexp>", "Only members whose whole name matches."),
    flag("role", Kind::Text, "<regexp>", "Deprecated: use -tag role=<regexp>."),
    flag("status", Kind::Text, "<regexp>", "Only members whose whole status matches."),
    flag(
        "tag",
        Kind::List,
        "<key>=<regexp>",
        "Only members whose tag matches; all that are given must match.",
    ),
];
