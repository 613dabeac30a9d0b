//! Commands with one call and one line.

use super::{
    super::output::{Json, line},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, block_on, connect, failed, flag, say,
    tags, wants_json,
};
use crate::{base::go_base64, rpc::protocol::Coordinate, serf};

const SPEC: CommandSpec = CommandSpec {
    name: "",
    synopsis: "",
    arguments: "",
    about: "",
    flags: &[FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run: version,
};

pub(super) const VERSION: CommandSpec = CommandSpec {
    name: "version",
    synopsis: "Prints the Serf version",
    about: "Prints the version of the program and the range of protocols that it speaks.",
    flags: &[FORMAT],
    ignores_flags: true,
    run: version,
    ..SPEC
};

fn version(args: &Parsed) -> Result<(), Failure> {
    let number = env!("CARGO_PKG_VERSION");
    let json = Json::object([
        ("version", Json::text(number)),
        ("protocol", Json::Int(5)),
        ("protocol_min", Json::Int(2)),
    ]);
    say(args, &format!("{number}\nAgent Protocol: 5 (Understands back to: 2)"), json)
}

pub(super) const KEYGEN: CommandSpec = CommandSpec {
    name: "keygen",
    synopsis: "Generates a new encryption key",
    about: "Makes a random key that encrypts the traffic between agents.",
    flags: &[FORMAT],
    ignores_flags: true,
    run: keygen,
    ..SPEC
};

fn keygen(args: &Parsed) -> Result<(), Failure> {
    let mut key = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut key)
        .map_err(|error| Failure::Message(format!("Error reading random data: {error}")))?;
    let key = go_base64::encode(&key);
    say(args, &key, Json::object([("key", Json::text(&key))]))
}

pub(super) const EVENT: CommandSpec = CommandSpec {
    name: "event",
    synopsis: "Send a custom event through the Serf cluster",
    arguments: "[options] name [payload]",
    about: "Sends a user event to the whole cluster.",
    flags: &[EVENT_FLAGS, FORMAT, RPC],
    run: event,
    ..SPEC
};

const EVENT_FLAGS: &[Flag] = &[flag(
    "coalesce",
    Kind::Bool,
    "",
    "Whether receivers may keep only the last of several events of this name; the default. \
     -coalesce=false delivers each one.",
)];

fn event(args: &Parsed) -> Result<(), Failure> {
    let (name, payload) = name_and_payload(args, "An event name must be specified.")?;
    let coalesce = args.text("coalesce").is_none() || args.bool("coalesce");
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let sent = client.user_event(args.raw_name(), payload, coalesce).await;
        sent.map_err(failed("Error sending event"))?;
        let text = format!("Event '{name}' dispatched! Coalescing enabled: {coalesce}");
        let json = [("event", Json::text(name)), ("coalesce", Json::Bool(coalesce))];
        say(args, &text, Json::object(json))
    })
}

/// A payload is bytes.
pub(super) fn name_and_payload<'a>(
    args: &'a Parsed,
    missing: &str,
) -> Result<(&'a str, &'a [u8]), Failure> {
    let payload = args.raw.get(1).map(Vec::as_slice).unwrap_or_default();
    match args.positionals.as_slice() {
        [] => Err(Failure::Usage(missing.to_owned())),
        [name] | [name, _] => Ok((name, payload)),
        _ => Err(Failure::Usage(
            "Too many command line arguments. Only a name and payload must be specified."
                .to_owned(),
        )),
    }
}

pub(super) const FORCE_LEAVE: CommandSpec = CommandSpec {
    name: "force-leave",
    synopsis: "Forces a member of the cluster to enter the \"left\" state",
    arguments: "[options] name",
    about: "Declares a failed member left, so that nobody tries to reach it any more. A member \
            that is alive comes back at once.",
    flags: &[FORCE_LEAVE_FLAGS, FORMAT, RPC],
    run: force_leave,
    ..SPEC
};

const FORCE_LEAVE_FLAGS: &[Flag] =
    &[flag("prune", Kind::Bool, "", "Also remove it from the lists of members.")];

fn force_leave(args: &Parsed) -> Result<(), Failure> {
    let [name] = args.positionals.as_slice() else {
        let message = "A node name must be specified to force leave.";
        return Err(Failure::Usage(message.to_owned()));
    };
    let json = wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let prune = args.bool("prune");
        let members = client.members().await.map_err(failed("Error force leaving"))?;
        let known = members.iter().any(|member| member.name == *name);
        // Others may know whom this agent does not.
        client.force_leave(name, prune).await.map_err(failed("Error force leaving"))?;
        if json {
            let prune = Json::Bool(prune);
            let json = [("name", Json::text(name)), ("prune", prune), ("known", Json::Bool(known))];
            return say(args, "", Json::object(json));
        }
        if !known {
            line(&format!("No member is named '{name}'."));
        }
        Ok(())
    })
}

pub(super) const JOIN: CommandSpec = CommandSpec {
    name: "join",
    synopsis: "Tell Serf agent to join cluster",
    arguments: "[options] address ...",
    about: "Makes the agent join a cluster through at least one of its members.",
    flags: &[JOIN_FLAGS, FORMAT, RPC],
    run: join,
    ..SPEC
};

const JOIN_FLAGS: &[Flag] =
    &[flag("replay", Kind::Bool, "", "Deliver user events from before the join.")];

fn join(args: &Parsed) -> Result<(), Failure> {
    if args.positionals.is_empty() {
        let message = "At least one address to join must be specified.";
        return Err(Failure::Usage(message.to_owned()));
    }
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let joined = client.join(args.positionals.clone(), args.bool("replay")).await;
        let count = joined.map_err(failed("Error joining the cluster"))?;
        let text = format!("Successfully joined cluster by contacting {count} nodes.");
        say(args, &text, Json::object([("contacted", Json::Int(i64::from(count)))]))
    })
}

pub(super) const LEAVE: CommandSpec = CommandSpec {
    name: "leave",
    synopsis: "Gracefully leaves the Serf cluster and shuts down",
    arguments: "[options]",
    about: "Makes the agent leave the cluster gracefully and end.",
    run: leave,
    ..SPEC
};

fn leave(args: &Parsed) -> Result<(), Failure> {
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        client.leave().await.map_err(failed("Error leaving"))?;
        say(args, "Graceful leave complete", Json::object([("left", Json::Bool(true))]))
    })
}

pub(super) const TAGS: CommandSpec = CommandSpec {
    name: "tags",
    synopsis: "Modify tags of a running Serf agent",
    arguments: "[options] ...",
    about: "Changes the tags of a running agent.",
    flags: &[TAGS_FLAGS, FORMAT, RPC],
    run: change_tags,
    ..SPEC
};

const TAGS_FLAGS: &[Flag] = &[
    flag("delete", Kind::List, "<key>", "Removes a tag; can be repeated."),
    flag("set", Kind::List, "<key>=<value>", "Sets a tag; can be repeated."),
];

fn change_tags(args: &Parsed) -> Result<(), Failure> {
    let (set, delete) = (args.list("set"), args.list("delete"));
    if set.is_empty() && delete.is_empty() {
        return Err(Failure::Help);
    }
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let updated = client.update_tags(tags(&set)?, delete).await;
        updated.map_err(failed("Error setting tags"))?;
        say(args, "Successfully updated agent tags", Json::object([("updated", Json::Bool(true))]))
    })
}

pub(super) const RTT: CommandSpec = CommandSpec {
    name: "rtt",
    synopsis: "Estimates network round trip time between nodes",
    arguments: "[options] node1 [node2]",
    about: "Estimates the round trip time between two members, or between one and the agent, \
            from their network coordinates.",
    run: rtt,
    ..SPEC
};

fn rtt(args: &Parsed) -> Result<(), Failure> {
    block_on(async {
        let client = connect(args).await?;
        let (first, second) = match args.positionals.as_slice() {
            [first] => {
                let stats = client.stats().await.map_err(failed("Error querying agent"))?;
                let own = stats.get("agent").and_then(|agent| agent.get("name")).cloned();
                (first, own.unwrap_or_default())
            }
            [first, second] => (first, second.clone()),
            _ => {
                let message = "One or two node names must be specified";
                return Err(Failure::Usage(message.to_owned()));
            }
        };
        let mut coordinates = Vec::new();
        for name in [first, &second] {
            let found =
                client.coordinate(name).await.map_err(failed("Error getting coordinates"))?;
            let missing =
                || Failure::Message(format!("Could not find a coordinate for node {name:?}"));
            coordinates.push(engine_coordinate(found.ok_or_else(missing)?));
        }
        let rtt = match coordinates.as_slice() {
            [a, b] => a.distance_to(b).unwrap_or_default(),
            _ => std::time::Duration::ZERO,
        };
        let ms = rtt.as_nanos() as f64 / 1e6;
        let text = format!("Estimated {first} <-> {second} rtt: {ms:.3} ms");
        let json =
            [("from", Json::text(first)), ("to", Json::text(&second)), ("rtt_ms", Json::Float(ms))];
        say(args, &text, Json::object(json))
    })
}

fn engine_coordinate(coordinate: Coordinate) -> serf::Coordinate {
    let Coordinate { vec, error, adjustment, height } = coordinate;
    serf::Coordinate { vec: vec.unwrap_or_default(), error, adjustment, height }
}
