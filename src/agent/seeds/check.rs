//! What can be said of seeds without a network.

use super::{
    Trust,
    find::{Found, host_and_port, seeds_in, text_of_file},
    seed::Source,
};
use crate::{
    agent::AgentError,
    driver,
    swim::{JoinEntry, JoinErrors},
};

/// What is known of seeds.
#[derive(Debug, Default)]
pub(in crate::agent) struct Checked {
    /// Seeds of which only a join shows whether a member answers.
    pub(in crate::agent) open: Vec<String>,
    /// Faults of others, as the agent logs them.
    pub(in crate::agent) faults: Vec<String>,
    /// How a join fails, if it must fail.
    pub(in crate::agent) failure: Option<AgentError>,
}

/// Checks seeds of the configuration. Reads files, but runs no programs.
pub(in crate::agent) fn check(seeds: &[String]) -> Checked {
    let (mut checked, mut found) = (Checked::default(), Found::default());
    let mut failures = JoinErrors::default();
    for seed in seeds {
        if is_open(seed, Trust::Local, &mut found, &mut failures) {
            checked.open.push(seed.clone());
        }
    }
    let errors = found.errors.iter().map(|error| format!("Failed to look up seeds: {error}"));
    checked.faults = errors.chain(failures.0.iter().map(ToString::to_string)).collect();
    if checked.open.is_empty() && !seeds.is_empty() {
        checked.failure = Some(match failures.is_empty() {
            true => AgentError::Seeds(found.error()),
            false => driver::Error::Join(failures.0).into(),
        });
    }
    checked
}

/// Whether a member might answer; otherwise adds the reason.
fn is_open(seed: &str, trust: Trust, found: &mut Found, failures: &mut JoinErrors) -> bool {
    let error = match Source::parse(seed, trust) {
        Ok(Source::Address(text)) => match JoinEntry::parse(&text, 0) {
            Ok(_) => return true,
            Err(error) => {
                failures.unresolved(&text, &error);
                return false;
            }
        },
        Ok(Source::Dns(text)) => match host_and_port(&text) {
            Ok(_) => return true,
            Err(error) => error,
        },
        Ok(Source::File(path)) => match text_of_file(&path) {
            Ok(text) => {
                let open =
                    seeds_in(&text).map(|line| is_open(line, Trust::Remote, found, failures));
                return open.fold(false, |any, open| any | open);
            }
            Err(error) => error,
        },
        Ok(Source::Srv(_) | Source::SrvNames(_) | Source::Exec(_)) => return true,
        Err(error) => error,
    };
    found.errors.push(error);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(seeds: &[&str]) -> Checked {
        check(&seeds.iter().map(|seed| (*seed).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn seeds_that_cannot_be_joined_are_found_without_a_network() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seeds");
        std::fs::write(&path, "# none\n127.0.0.1:yy\nexec:reboot\n").unwrap();
        let file = format!("file:{}", path.display());
        let some = ["127.0.0.1:xx", "a", "/b", "dns+c:x", "dns+d:1", "file:/no/such", &file];
        let some_of_them = checked(&some);
        assert_eq!(some_of_them.open, ["a", "dns+d:1"]);
        assert!(some_of_them.failure.is_none());
        assert_eq!(
            some_of_them.faults,
            [
                "Failed to look up seeds: address c:x: invalid port",
                "Failed to look up seeds: open /no/such: no such file or directory",
                "Failed to look up seeds: 'exec:reboot': only the configuration and commands may \
                 use exec:",
                "failed to resolve 127.0.0.1:xx: strconv.ParseUint: parsing \"xx\": invalid syntax",
                "failed to resolve /b: empty node name provided",
                "failed to resolve 127.0.0.1:yy: strconv.ParseUint: parsing \"yy\": invalid syntax",
            ]
        );
        let failure = |seeds: &[&str]| checked(seeds).failure.unwrap().to_string();
        assert_eq!(
            failure(&["127.0.0.1:xx", "file:/no/such"]),
            "1 error occurred:\n\t* failed to resolve 127.0.0.1:xx: strconv.ParseUint: parsing \
             \"xx\": invalid syntax\n\n"
        );
        let missing = "open /no/such: no such file or directory";
        assert_eq!(failure(&["file:/no/such"]), missing);
        std::fs::write(&path, "").unwrap();
        assert_eq!(failure(&[&file]), "the seeds name no address");
        assert!(checked(&[]).failure.is_none());
    }
}
