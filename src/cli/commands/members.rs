//! `serf members`

use std::net::IpAddr;

use super::{
    super::output::{Json, columns, line},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, block_on, connect, expression, failed,
    flag, say_trimmed, tags,
};
use crate::{base::go_net, client::MemberFilter, rpc::protocol::Member};

pub(super) const MEMBERS: CommandSpec = CommandSpec {
    name: "members",
    synopsis: "Lists the members of a Serf cluster",
    arguments: "[options]",
    about: "Lists the members that an agent knows, with their addresses, status and tags.",
    flags: &[FLAGS, FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run,
};

const FLAGS: &[Flag] = &[
    flag("detailed", Kind::Bool, "", "Also show protocol versions (in text)."),
    flag("name", Kind::Text, "<regexp>", "Only members whose whole name matches."),
    flag("role", Kind::Text, "<regexp>", "Deprecated: use -tag role=<regexp>."),
    flag("status", Kind::Text, "<regexp>", "Only members whose whole status matches."),
    flag(
        "tag",
        Kind::List,
        "<key>=<regexp>",
        "Only members whose tag matches; can be repeated, and all must match.",
    ),
];

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
    // The agent anchors them like this.
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
        say_trimmed(args, &columns(&rows), json(&members))
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

fn json(members: &[Member]) -> Json {
    let number = |value: u8| Json::Int(i64::from(value));
    let rows = members.iter().map(|member| {
        let tags = member.tags.iter().map(|(name, value)| (name.clone(), Json::text(value)));
        Json::object([
            ("name", Json::text(&member.name)),
            ("addr", Json::text(addr(member))),
            ("port", Json::Int(i64::from(member.port))),
            ("tags", Json::object(tags)),
            ("status", Json::text(&member.status)),
            (
                "protocol",
                Json::object([
                    ("max", number(member.delegate_max)),
                    ("min", number(member.delegate_min)),
                    ("version", number(member.delegate_cur)),
                ]),
            ),
        ])
    });
    let rows = if members.is_empty() { Json::Null } else { Json::List(rows.collect()) };
    Json::object([("members", rows)])
}

fn addr(member: &Member) -> String {
    go_net::join_host_port(&address(member), member.port)
}

/// A member's address as Go shows it.
pub(in crate::cli) fn address(member: &Member) -> String {
    let bytes = &member.addr.0;
    match (<[u8; 4]>::try_from(&**bytes), <[u8; 16]>::try_from(&**bytes)) {
        (Ok(v4), _) => IpAddr::from(v4).to_string(),
        (_, Ok(v6)) => IpAddr::from(v6).to_canonical().to_string(),
        _ if bytes.is_empty() => "<nil>".to_owned(),
        _ => format!("?{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
