//! Description of a setting in the table.

/// One setting of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name of the setting; files may write it in any case.
    pub name: &'static str,
    /// Type of the value.
    pub shape: Shape,
    /// Flag of `serf agent` that sets it, without dash; empty: none.
    pub flag: &'static str,
    /// Placeholder of the value in help texts; empty for switches.
    pub value: &'static str,
    /// Default value; empty: none, or not a constant.
    pub default: &'static str,
    /// Whether Go's agent has the setting.
    pub origin: Origin,
    /// First version of this program that has the setting.
    pub since: &'static str,
    /// Description in one or two sentences.
    pub doc: &'static str,
}

/// Which agents have a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Go's agent has it too.
    Go,
    /// Only this agent has it, under memberlist's name if memberlist has such a setting.
    Ours,
}

/// Type of a setting's value, which also decides how a later source changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text; a later value replaces it unless empty.
    Text,
    /// Text that is wiped and never shown; a later value replaces it unless empty.
    Secret,
    /// True is never undone by a later source.
    Flag,
    /// True or false; the last source counts. Its flag turns it off.
    Switch,
    /// Number; a later value replaces it unless zero.
    Int,
    /// Number; a later value replaces it if positive.
    Version,
    /// Duration in Go's form; a later value replaces it unless zero.
    Duration,
    /// List; later values are appended.
    List,
    /// Names and values; merged by name.
    Map,
    /// Accepted but without effect, as in Go.
    Ignored,
}

impl Shape {
    /// JSON type of the value in a file.
    pub fn json_type(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "string",
            Self::Flag | Self::Switch | Self::Ignored => "boolean",
            Self::Int | Self::Version => "number",
            Self::Duration => "duration",
            Self::List => "list of strings",
            Self::Map => "object of strings",
        }
    }

    /// How a later source changes an earlier value.
    pub fn merge_rule(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "the last that is not empty",
            Self::Flag => "true once any source says so",
            Self::Switch => "the last",
            Self::Int | Self::Duration => "the last that is not zero",
            Self::Version => "the last that is positive",
            Self::List => "appended",
            Self::Map => "merged by name",
            Self::Ignored => "no effect",
        }
    }
}
