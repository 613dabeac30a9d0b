//! The flags for TLS to the agent's RPC.

use super::{Failure, Flag, Kind, Parsed, non_utf8::variable};
use crate::{base::go_number, client::Config};

/// Flags of every command that talks to an agent. Each has a variable of the environment.
pub(super) const FLAGS: [Flag; 5] = [
    Flag {
        name: "rpc-tls",
        kind: Kind::Bool,
        value: "",
        help: "Reach the agent by TLS; -rpc-ca and -rpc-cert imply it. The environment variable \
               SERF_RPC_TLS=true does the same.",
    },
    Flag {
        name: "rpc-ca",
        kind: Kind::Text,
        value: "<file>",
        help: "Certificates in PEM, of which one has signed the agent's. The environment variable \
               SERF_RPC_CA sets a default.",
    },
    Flag {
        name: "rpc-cert",
        kind: Kind::Text,
        value: "<file>",
        help: "Certificate in PEM to show to the agent. The environment variable SERF_RPC_CERT \
               sets a default.",
    },
    Flag {
        name: "rpc-key",
        kind: Kind::Text,
        value: "<file>",
        help: "Private key in PEM of -rpc-cert. The environment variable SERF_RPC_KEY sets a \
               default.",
    },
    Flag {
        name: "rpc-name",
        kind: Kind::Text,
        value: "<name>",
        help: "Name in the agent's certificate, if it is not the host of -rpc-addr. The \
               environment variable SERF_RPC_NAME sets a default.",
    },
];

/// Adds TLS to a configuration, if it is wanted. Unix sockets are in clear.
pub(super) fn apply(args: &Parsed, config: Config) -> Result<Config, Failure> {
    let given = |flag, name| given(args, flag, name);
    let [ca, cert, key, name] = [
        ("rpc-ca", "SERF_RPC_CA"),
        ("rpc-cert", "SERF_RPC_CERT"),
        ("rpc-key", "SERF_RPC_KEY"),
        ("rpc-name", "SERF_RPC_NAME"),
    ]
    .map(|(flag, name)| given(flag, name));
    if !is_wanted(args) || config.addr.starts_with("unix:") {
        return Ok(config);
    }
    let fail = |text: &str| Failure::Message(format!("Error connecting to Serf agent: {text}"));
    let Some(ca) = ca else { return Err(fail("-rpc-tls needs -rpc-ca")) };
    let own = match (&cert, &key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert.as_ref(), key.as_ref())),
        _ => return Err(fail("-rpc-cert and -rpc-key belong together")),
    };
    let name = name.unwrap_or_else(|| host(&config.addr).to_owned());
    secured(config, ca.as_ref(), own, name).map_err(|reason| fail(&reason))
}

/// Whether the agent is reached by TLS.
pub(super) fn is_wanted(args: &Parsed) -> bool {
    match given(args, "rpc-tls", "SERF_RPC_TLS") {
        Some(on) => go_number::parse_bool(&on).unwrap_or(true),
        None => {
            let names = [("rpc-ca", "SERF_RPC_CA"), ("rpc-cert", "SERF_RPC_CERT")];
            names.into_iter().any(|(flag, name)| given(args, flag, name).is_some())
        }
    }
}

fn given(args: &Parsed, flag: &str, name: &str) -> Option<String> {
    let given = args.text(flag).map(str::to_owned).or_else(|| variable(name));
    given.filter(|text| !text.is_empty())
}

/// The host of an address, without brackets.
fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { "localhost" } else { host }
}

type Files<'a> = (&'a std::path::Path, &'a std::path::Path);

#[cfg(feature = "agent-tls")]
fn secured(
    mut config: Config,
    ca: &std::path::Path,
    own: Option<Files<'_>>,
    name: String,
) -> Result<Config, String> {
    let tls = crate::agent::client_tls(ca, own)?;
    let shown = name.clone();
    let name = name.try_into().map_err(|_| format!("'{shown}' is no name of a certificate"))?;
    config.tls = Some(crate::client::Tls::new(tls.into(), name));
    Ok(config)
}

#[cfg(not(feature = "agent-tls"))]
fn secured(
    _: Config,
    _: &std::path::Path,
    _: Option<Files<'_>>,
    _: String,
) -> Result<Config, String> {
    Err("this program was built without TLS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_certificate_is_the_host_of_the_address() {
        for (addr, expected) in [
            ("127.0.0.1:7373", "127.0.0.1"),
            ("[::1]:7373", "::1"),
            ("web.example:7373", "web.example"),
            (":7373", "localhost"),
        ] {
            assert_eq!(host(addr), expected);
        }
    }
}
