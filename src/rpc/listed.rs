//! The JSON form of a member in `serf members` and the agent's HTTP API.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::base::go_net;

/// One member; the field names are Go's.
#[derive(Serialize)]
pub(crate) struct ListedMember<'m> {
    pub(crate) name: &'m str,
    /// Address and port, as formatted by [`endpoint`].
    pub(crate) addr: String,
    pub(crate) port: u16,
    pub(crate) tags: BTreeMap<&'m str, &'m str>,
    pub(crate) status: &'m str,
    pub(crate) protocol: ListedVersions,
}

/// Versions of Serf's protocol: the range that a member supports, and the current one.
#[derive(Serialize)]
pub(crate) struct ListedVersions {
    pub(crate) max: u8,
    pub(crate) min: u8,
    pub(crate) version: u8,
}

/// Formats a member's address and port as Go does.
pub(crate) fn endpoint(addr: &[u8], port: u16) -> String {
    go_net::join_host_port(&address(addr), port)
}

/// Formats a member's address as Go does: in hexadecimal if it does not have 4 or 16 bytes.
pub(crate) fn address(addr: &[u8]) -> String {
    match (<[u8; 4]>::try_from(addr), <[u8; 16]>::try_from(addr)) {
        (Ok(v4), _) => IpAddr::from(v4).to_string(),
        (_, Ok(v6)) => IpAddr::from(v6).to_canonical().to_string(),
        _ if addr.is_empty() => "<nil>".to_owned(),
        _ => format!("?{}", addr.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_go_s_form() {
        assert_eq!(endpoint(&[10, 0, 0, 1], 7946), "10.0.0.1:7946");
        assert_eq!(
            endpoint(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], 1),
            "10.0.0.1:1"
        );
        assert_eq!(endpoint(&[0; 16], 7946), "[::]:7946");
        assert_eq!(address(&[]), "<nil>");
        assert_eq!(address(&[1, 255]), "?01ff");
    }
}
