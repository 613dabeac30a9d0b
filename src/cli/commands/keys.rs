//! `serf keys`

use std::{
    collections::BTreeMap,
    io::{BufRead as _, Read as _},
};

use serde::Serialize;

use super::{
    super::output::{columns, line, pretty},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, failed, flag,
    key_outcome, missing, secret, wants_json,
};
use crate::{base::Secret, client::KeyResponse};

pub(super) const KEYS: CommandSpec = CommandSpec {
    name: "keys",
    synopsis: "Manipulate the internal encryption keyring used by Serf",
    arguments: "[options]...",
    about: "Lists and changes the keys that encrypt the traffic of the whole cluster. Use it to \
            rotate a key without a restart: -install the new key, -use it, then -remove the old \
            one, each step only after the previous one succeeded on all members; \
            `serf keys rotate` does all of it. A step may be repeated: what a member has done \
            already is no error.\n\n\
            Exits with 0 if all members carried out the operation; with 1 otherwise, and then the \
            output names the members that failed or did not answer.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

/// Go's texts for an operation.
struct Words {
    begin: &'static str,
    done: &'static str,
    failed: &'static str,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let key = |name| args.text(name).filter(|key| !key.is_empty());
    let chosen = [key("install"), key("use"), key("remove")];
    let count = chosen.iter().flatten().count() + usize::from(args.bool("list"));
    if count > 1 {
        let message = "Only one of -install, -use, -remove, or -list allowed";
        return Err(Failure::Message(message.to_owned()));
    }
    if count == 0 {
        return Err(Failure::Help);
    }
    let json = wants_json(args)?;
    let [install, use_, remove] = chosen;
    let chosen = [install.map(read_key), use_.map(read_key), remove.map(read_key)];
    let [install, use_, remove] = chosen.map(Option::transpose);
    let chosen = [install?, use_?, remove?];
    block_on(async {
        let client = connect(args).await?;
        let begin = |words: &Words| {
            if !json {
                line(&format!("==> {}", words.begin));
            }
        };
        let (words, result) = match &chosen {
            [Some(key), _, _] => {
                begin(&INSTALL);
                (INSTALL, client.install_key(key.expose()).await)
            }
            [_, Some(key), _] => {
                begin(&USE);
                (USE, client.use_key(key.expose()).await)
            }
            [_, _, Some(key)] => {
                begin(&REMOVE);
                (REMOVE, client.remove_key(key.expose()).await)
            }
            [None, None, None] => {
                begin(&LIST);
                (LIST, client.list_keys().await)
            }
        };
        let (mut response, error) = key_outcome(result).map_err(failed(words.failed))?;
        // Go's agent reports only their number.
        let unnamed = response.num_resp < response.num_nodes && response.missing.is_empty();
        let silence = if unnamed { "No answer to a ping from" } else { "No answer from" };
        if unnamed {
            response.missing = missing::silent(&client).await.unwrap_or_default();
        }
        report(&words, response, error, silence, json)
    })
}

/// Reads a key from the command line, from a file for `@FILE`, or from standard input for `-`.
pub(super) fn read_key(written: &str) -> Result<Secret, Failure> {
    if written != "-" {
        return secret("key", written);
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().take(KEY_BYTES_MAX).read_line(&mut line);
    let line = Secret::from(line);
    match read {
        Ok(_) => Ok(line.expose().trim().into()),
        Err(error) => Err(Failure::Message(format!("Error reading key: {error}"))),
    }
}

fn report(
    words: &Words,
    response: KeyResponse,
    error: Option<String>,
    silence: &str,
    json: bool,
) -> Result<(), Failure> {
    if json {
        let failed = error.is_some();
        line(&pretty(&Outcome {
            keys: response.keys.unwrap_or_default(),
            messages: response.messages,
            num_nodes: response.num_nodes,
            num_resp: response.num_resp,
            num_err: response.num_err,
            missing: response.missing,
            error,
        }));
        return if failed { Err(Failure::Silent) } else { Ok(()) };
    }
    if let Some(error) = error {
        if !response.messages.is_empty() {
            let rows = response.messages.iter();
            let rows: Vec<_> = rows.map(|(node, text)| format!("failed: |{node}|{text}")).collect();
            line(&columns(&rows));
        }
        line("");
        line(&format!("{}: {error}", words.failed));
        missing::print(silence, &response.missing);
        return Err(Failure::Silent);
    }
    line(&format!("==> {}", words.done));
    if let Some(keys) = response.keys.filter(|_| words.done == LIST.done) {
        line("");
        let total = response.num_nodes;
        let rows: Vec<_> = keys.iter().map(|(key, n)| format!("{key} | [{n}/{total}]")).collect();
        line(&columns(&rows));
    }
    Ok(())
}

/// The output of `-format json`.
#[derive(Serialize)]
struct Outcome {
    keys: BTreeMap<String, i64>,
    messages: BTreeMap<String, String>,
    num_nodes: i64,
    num_resp: i64,
    num_err: i64,
    missing: Vec<String>,
    error: Option<String>,
}

const FLAGS: &[Flag] = &[
    flag(
        "install",
        Kind::Text,
        "<key>",
        "Add a key on all members. Here and below - reads the key from the standard input, @FILE \
         from a file.",
    ),
    flag("list", Kind::Bool, "", "List the keys and how many members have each."),
    flag("remove", Kind::Text, "<key>", "Remove a key on all members; the primary key is refused."),
    flag("use", Kind::Text, "<key>", "Make an installed key the primary one on all members."),
];
const INSTALL: Words = Words {
    begin: "Installing key on all members...",
    done: "Successfully installed key!",
    failed: "Error installing key",
};
const USE: Words = Words {
    begin: "Changing primary key on all members...",
    done: "Successfully changed primary key!",
    failed: "Error changing primary key",
};
const REMOVE: Words = Words {
    begin: "Removing key on all members...",
    done: "Successfully removed key!",
    failed: "Error removing key",
};
const LIST: Words = Words {
    begin: "Asking all members for installed keys...",
    done: "Keys gathered, listing cluster keys...",
    failed: "Failed to gather member keys",
};
/// Most bytes read for a key from standard input.
const KEY_BYTES_MAX: u64 = 1 << 10;
