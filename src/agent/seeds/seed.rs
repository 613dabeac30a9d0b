//! Parses seeds.

/// Source of a seed's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Source {
    /// An address, or a host name for the system's resolver: as in Go.
    Address(String),
    /// `dns+NAME[:PORT]`: all addresses of a host name.
    Dns(String),
    /// `dnssrv+NAME`: the targets of service records, with all addresses of each.
    Srv(String),
    /// `dnssrvnoa+NAME`: the targets of service records, joined by name.
    SrvNames(String),
    /// `file:PATH`: one address on each line.
    File(String),
    /// `exec:COMMAND`: one address on each line of the output.
    Exec(String),
}

/// How far the author of a seed is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// May run programs and read files here: the configuration, or the user of a command.
    Local,
    /// May not: an RPC client, or a line of a file or of a program's output.
    Remote,
}

/// Creates a source from the text after its prefix.
type Make = fn(String) -> Source;

impl Source {
    /// Parses a seed. `file:7946` and `exec:7946` are hosts with a port, as in Go.
    ///
    /// # Errors
    /// The seed is empty, or uses a source that its author may not use.
    pub(in crate::agent) fn parse(text: &str, trust: Trust) -> Result<Self, String> {
        let dns: [(&str, Make); 3] =
            [("dns+", Self::Dns), ("dnssrv+", Self::Srv), ("dnssrvnoa+", Self::SrvNames)];
        for (prefix, source) in dns {
            match text.strip_prefix(prefix) {
                Some("") => return Err(format!("'{text}': a name is missing")),
                Some(name) => return Ok(source(name.to_owned())),
                None => {}
            }
        }
        let local: [(&str, Make); 2] = [("file:", Self::File), ("exec:", Self::Exec)];
        for (prefix, source) in local {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            if rest.is_empty() || rest.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            if trust == Trust::Remote {
                return Err(format!(
                    "'{text}': only the configuration and commands may use {prefix}"
                ));
            }
            return Ok(source(rest.to_owned()));
        }
        Ok(Self::Address(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_where_addresses_come_from_and_gos_addresses_stay_addresses() {
        let local = |text| Source::parse(text, Trust::Local).unwrap();
        assert_eq!(local("dns+serf.local:7946"), Source::Dns("serf.local:7946".into()));
        assert_eq!(local("dnssrv+_serf._udp.x"), Source::Srv("_serf._udp.x".into()));
        assert_eq!(local("dnssrvnoa+x"), Source::SrvNames("x".into()));
        assert_eq!(local("file:/etc/seeds"), Source::File("/etc/seeds".into()));
        assert_eq!(local("exec:seeds --all"), Source::Exec("seeds --all".into()));
        for text in ["file:7946", "exec:7946", "file:", "10.0.0.1", "[::1]:7", "a/b:7946", ""] {
            assert_eq!(local(text), Source::Address(text.into()));
        }
        assert!(Source::parse("dns+", Trust::Local).is_err());
        for text in ["file:/etc/shadow", "exec:reboot"] {
            assert!(Source::parse(text, Trust::Remote).is_err(), "{text}");
        }
        assert!(Source::parse("dns+x", Trust::Remote).is_ok());
    }
}
