//! The command `serf debug`: writes everything needed for a bug report to one file, without
//! secrets.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    super::{
        super::output::line, CommandSpec, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on,
        connect, flag,
    },
    command::{Diagnosis, since_s},
    evidence::Evidence,
};
use crate::{agent::replace_file, base::go_net, rpc::protocol::Stats};

pub(in super::super) const DEBUG: CommandSpec = CommandSpec {
    name: "debug",
    synopsis: "Writes a bundle for a bug report",
    arguments: "[options] -output=FILE",
    about: "Writes one JSON file with everything that a bug report needs: version, findings of \
            serf doctor, members, statistics, number of members with each key, recent log lines, \
            and the given configuration files. Use it to report a bug. Keys, tokens and values of \
            secret settings are omitted; names, addresses, tags, commands of event handlers and \
            log lines are included: read the file before you publish it.\n\n\
            Exits with 0, or with 1 if the agent does not answer or the file cannot be written.",
    flags: &[FLAGS, RPC],
    run,
    ..SPEC
};

/// The contents of the file.
#[derive(Serialize)]
struct Bundle<'b> {
    version: &'static str,
    time: String,
    doctor: Diagnosis,
    members: Vec<Row<'b>>,
    stats: &'b Stats,
    /// Number of members that have each key; the keys are omitted.
    key_holders: Vec<i64>,
    log: &'b [String],
    config: BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct Row<'b> {
    name: &'b str,
    status: &'b str,
    addr: String,
    port: u16,
    tags: &'b BTreeMap<String, String>,
    protocol: [u8; 3],
    delegate: [u8; 3],
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let Some(output) = args.text("output").filter(|path| !path.is_empty()) else {
        return Err(Failure::Usage("A file must be specified with -output.".to_owned()));
    };
    let config = configuration(&args.list("config-file"))?;
    block_on(async {
        let client = connect(args).await?;
        let evidence = Evidence::gather(&client, &[]).await?;
        let members = evidence.members.iter().map(|member| Row {
            name: &member.name,
            status: &member.status,
            addr: hex_or_ip(&member.addr.0),
            port: member.port,
            tags: &member.tags,
            protocol: [member.protocol_min, member.protocol_max, member.protocol_cur],
            delegate: [member.delegate_min, member.delegate_max, member.delegate_cur],
        });
        let holders = evidence.keys.iter().flat_map(|(keys, _)| keys.values().copied());
        let bundle = Bundle {
            version: env!("CARGO_PKG_VERSION"),
            time: jiff::Timestamp::now().to_string(),
            doctor: Diagnosis::of(&evidence, &[], since_s(args)),
            members: members.collect(),
            stats: &evidence.stats,
            key_holders: holders.collect(),
            log: &evidence.log,
            config,
        };
        let json = serde_json::to_vec_pretty(&bundle);
        let json = json.map_err(|error| Failure::Message(error.to_string()))?;
        replace_file(Path::new(output), &json).map_err(Failure::Message)?;
        line(&format!("Wrote {output}. Read it before you publish it."));
        Ok(())
    })
}

fn hex_or_ip(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from));
    ip.map_or_else(|_| format!("{bytes:?}"), |ip| ip.to_string())
}

/// The configuration files, without secrets.
fn configuration(paths: &[String]) -> Result<BTreeMap<String, Value>, Failure> {
    let mut all = BTreeMap::new();
    for path in paths {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Failure::Message(go_net::read_error_text(path, &error)))?;
        // Only the position of the error is reported: the text may be a secret.
        let value = serde_json::from_str(&text).map_err(|error| {
            Failure::Message(format!("{path}: line {}, column {}", error.line(), error.column()))
        })?;
        all.insert(path.clone(), without_secrets(value));
    }
    Ok(all)
}

/// Replaces the values of settings whose names indicate a secret.
fn without_secrets(value: Value) -> Value {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.into_iter().map(without_secrets).collect(),
        value => return value,
    };
    let shown = fields.into_iter().map(|(name, value)| {
        let lower = name.to_lowercase();
        let secret = SECRET_NAMES.iter().any(|word| lower.contains(word));
        // The path of a key file is not secret.
        let is_path = lower.ends_with("_file") || lower.ends_with("_path");
        let value = match secret && !is_path {
            true => Value::from("(left out)"),
            false => without_secrets(value),
        };
        (name, value)
    });
    Value::Object(shown.collect())
}

const FLAGS: &[Flag] = &[
    flag("config-file", Kind::List, "<file>", "A configuration file of the agent, to be included."),
    flag("output", Kind::Text, "<file>", "The file to write. Only its owner may read it."),
    flag("since", Kind::Duration, "5m", "As of serf doctor."),
];
/// Parts of setting names that indicate a secret.
const SECRET_NAMES: &[&str] = &["key", "auth", "token", "secret", "password"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_left_out_and_places_are_kept() {
        let written = json!({
            "encrypt_key": "T9jn", "rpc_auth": "s3cret", "Encrypt_Key": "x", "rpc_tokens": ["y"],
            "keyring_file": "/k", "node_name": "n", "mdns": {"auth": 1, "interface": "eth0"},
            "start_join": ["a", {"password": "z", "addr": "b"}],
        });
        assert_eq!(
            without_secrets(written),
            json!({
                "encrypt_key": "(left out)", "rpc_auth": "(left out)", "Encrypt_Key": "(left out)",
                "rpc_tokens": "(left out)", "keyring_file": "/k", "node_name": "n",
                "mdns": {"auth": "(left out)", "interface": "eth0"},
                "start_join": ["a", {"password": "(left out)", "addr": "b"}],
            })
        );
    }
}
