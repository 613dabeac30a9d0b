//! `serf tags`

use serde_json::json;

use super::{
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, failed, flag,
    print, tags, wants_json,
};

pub(super) const TAGS: CommandSpec = CommandSpec {
    name: "tags",
    synopsis: "Modify tags of a running Serf agent",
    arguments: "[options] ...",
    about: "Sets and deletes tags of a running agent, and announces them to the cluster without a \
            restart. Use it to change the role or version that others select members by. With a \
            tags file the change also survives a restart. Name and value of all tags together \
            hold 512 bytes.\n\n\
            Exits with 0 if the tags were changed, with 1 otherwise.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let (set, delete) = (args.list("set"), args.list("delete"));
    if set.is_empty() && delete.is_empty() {
        return Err(Failure::Help);
    }
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let updated = client.update_tags(tags(&set)?, delete).await;
        updated.map_err(failed("Error setting tags"))?;
        print(args, "Successfully updated agent tags", &json!({ "updated": true }))
    })
}

const FLAGS: &[Flag] = &[
    flag("delete", Kind::List, "<key>", "Tag to delete."),
    flag("set", Kind::List, "<key>=<value>", "Tag to set."),
];
