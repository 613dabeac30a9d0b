//! `serf keygen`

use serde_json::json;
use zeroize::Zeroizing;

use super::{CommandSpec, FORMAT, Failure, Parsed, SPEC, print};
use crate::base::{Secret, go_base64};

pub(super) const KEYGEN: CommandSpec = CommandSpec {
    name: "keygen",
    synopsis: "Generates a new encryption key",
    arguments: "[options]",
    about: "Generates a random key of 32 bytes, in base64, that encrypts the traffic between \
            agents. Use it for `serf agent -encrypt` when a cluster is set up, and for `serf keys \
            -install` when its key is rotated. It talks to no agent.\n\n\
            Exits with 0, or with 1 if the system provides no random bytes.",
    flags: &[FORMAT],
    ignores_flags: true,
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let key = generate()?;
    print(args, key.expose(), &json!({ "key": key.expose() }))
}

/// Generates a random key in base64.
pub(super) fn generate() -> Result<Secret, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut *key)
        .map_err(|error| Failure::Message(format!("Error reading random data: {error}")))?;
    Ok(go_base64::encode(&*key).into())
}
