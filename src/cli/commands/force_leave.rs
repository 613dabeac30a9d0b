//! `serf force-leave`

use serde::Serialize;

use super::{
    super::output::{line, pretty},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, failed, flag,
    wants_json,
};
use crate::serf::Prune;

pub(super) const FORCE_LEAVE: CommandSpec = CommandSpec {
    name: "force-leave",
    synopsis: "Forces a member of the cluster to enter the \"left\" state",
    arguments: "[options] name",
    about: "Declares a failed member left, so that the cluster stops trying to reconnect to it. \
            Use it for a machine that is gone for good; without it the member stays listed as \
            failed until `reconnect_timeout`, a day by default. A member that is in fact alive \
            refutes this and rejoins.\n\n\
            Exits with 0 if the agent accepted the request, even if no member has that name, and \
            with 1 otherwise.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    prune: bool,
    known: bool,
}

fn run(args: &Parsed) -> Result<(), Failure> {
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
        // Other members may know a name that is unknown to this agent.
        let pruned = if prune { Prune::Yes } else { Prune::No };
        client.force_leave(name, pruned).await.map_err(failed("Error force leaving"))?;
        if json {
            line(&pretty(&Outcome { name, prune, known }));
        } else if !known {
            line(&format!("No member is named '{name}'."));
        }
        Ok(())
    })
}

const FLAGS: &[Flag] =
    &[flag("prune", Kind::Bool, "", "Also remove the member from the lists of all members.")];
