//! Capabilities: the groups of commands that a token can allow.

use crate::rpc::protocol::Command;

macro_rules! capabilities {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A group of commands that a token can allow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::agent) enum Capability {
            $($(#[$doc])* $variant,)*
        }

        impl Capability {
            /// All capabilities.
            pub(in crate::agent) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the tokens file.
            pub(in crate::agent) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

capabilities! {
    /// Members, coordinates, statistics, event streams, and all paths of HTTP.
    Read = "read",
    /// Sends user events.
    Event = "event",
    /// Sends queries.
    Query = "query",
    /// Answers queries.
    Respond = "respond",
    /// Changes tags.
    Tags = "tags",
    /// Joins other members.
    Join = "join",
    /// Lists and changes encryption keys.
    Keys = "keys",
    /// Makes this node or a failed member leave.
    Leave = "leave",
    /// Streams the log.
    Monitor = "monitor",
    /// All commands.
    Admin = "admin",
}

impl Capability {
    /// The capability that a command needs; `None` if every client may send it.
    pub(in crate::agent) fn of(command: Command) -> Option<Self> {
        Some(match command {
            // `stop` affects only the client's own streams.
            Command::Handshake | Command::Auth | Command::Stop => return None,
            Command::Members
            | Command::MembersFiltered
            | Command::Stream
            | Command::Stats
            | Command::GetCoordinate => Self::Read,
            Command::Event => Self::Event,
            Command::Query => Self::Query,
            Command::Respond => Self::Respond,
            Command::Tags => Self::Tags,
            Command::Join => Self::Join,
            // `list-keys` reveals the keys, so `read` is not enough.
            Command::InstallKey | Command::UseKey | Command::RemoveKey | Command::ListKeys => {
                Self::Keys
            }
            Command::Leave | Command::ForceLeave => Self::Leave,
            Command::Monitor => Self::Monitor,
        })
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name() == name)
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::agent) struct Capabilities(u16);

impl Capabilities {
    /// Parses names of capabilities.
    ///
    /// # Errors
    /// The first unknown name.
    pub(super) fn parse(names: &[String]) -> Result<Self, String> {
        names.iter().try_fold(Self::default(), |set, name| match Capability::from_name(name) {
            Some(capability) => Ok(Self(set.0 | Self::bit(capability))),
            None => Err(name.clone()),
        })
    }

    /// Whether the set contains this capability, or `admin`.
    pub(in crate::agent) fn allow(self, capability: Capability) -> bool {
        self.0 & (Self::bit(capability) | Self::bit(Capability::Admin)) != 0
    }

    fn bit(capability: Capability) -> u16 {
        1 << capability as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_allows_itself_and_admin_allows_all() {
        let set = |names: &[&str]| {
            Capabilities::parse(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        for &one in Capability::ALL {
            let only = set(&[one.name()]).unwrap();
            for &other in Capability::ALL {
                let expected = one == other || one == Capability::Admin;
                assert_eq!(only.allow(other), expected, "{} {}", one.name(), other.name());
            }
            assert!(!set(&[]).unwrap().allow(one));
        }
        assert_eq!(set(&["read", "Write"]), Err("Write".to_owned()));
    }
}
