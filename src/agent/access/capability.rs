//! What a token allows.

use crate::rpc::protocol::Command;

macro_rules! capabilities {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// One kind of commands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::agent) enum Capability {
            $($(#[$doc])* $variant,)*
        }

        impl Capability {
            /// All of them.
            pub(in crate::agent) const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in the tokens file.
            pub(in crate::agent) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

capabilities! {
    /// Members, coordinates, statistics, streams of events; all of HTTP.
    Read = "read",
    /// Sends user events.
    Event = "event",
    /// Asks queries.
    Query = "query",
    /// Answers queries.
    Respond = "respond",
    /// Changes tags.
    Tags = "tags",
    /// Joins other members.
    Join = "join",
    /// Changes and lists keys.
    Keys = "keys",
    /// Leaves, and forces others to leave.
    Leave = "leave",
    /// Reads the log.
    Monitor = "monitor",
    /// All of these.
    Admin = "admin",
}

impl Capability {
    /// What a command needs; `None`: every client may send it.
    pub(in crate::agent) fn of(command: Command) -> Option<Self> {
        Some(match command {
            // A client only stops streams of its own.
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
            // A list shows the keys themselves.
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
    /// The set of these names; otherwise the name that is none.
    pub(super) fn parse(names: &[String]) -> Result<Self, String> {
        names.iter().try_fold(Self::default(), |set, name| match Capability::from_name(name) {
            Some(capability) => Ok(Self(set.0 | Self::bit(capability))),
            None => Err(name.clone()),
        })
    }

    /// Whether it holds a capability.
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
