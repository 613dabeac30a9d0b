//! What the table says about a setting.

/// One setting of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name; files may write it in any case.
    pub name: &'static str,
    /// Type of its value.
    pub shape: Shape,
    /// Flag of `serf agent` that sets it, without dash; empty: none.
    pub flag: &'static str,
    /// Placeholder of its value in help texts; empty for switches.
    pub value: &'static str,
    /// Its default; empty: none, or not a constant.
    pub default: &'static str,
    /// Whether Go's agent has it.
    pub origin: Origin,
    /// The first version of this program that has it.
    pub since: &'static str,
    /// What it does, in one or two sentences.
    pub doc: &'static str,
}

/// Which agents have a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Go's agent has it too.
    Go,
    /// Only this agent has it, under memberlist's name where memberlist has one.
    Ours,
}

/// Type of a setting's value, which also decides how a later source changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text; a later one replaces it unless empty.
    Text,
    /// Text that is wiped and never shown; a later one replaces it unless empty.
    Secret,
    /// True is never undone by a later source.
    Flag,
    /// True or false; the last source counts. Its flag turns it off.
    Switch,
    /// Number; a later one replaces it unless zero.
    Int,
    /// Number; a later one replaces it if positive.
    Version,
    /// Duration in Go's form; a later one replaces it unless zero.
    Duration,
    /// List; a later one is appended.
    List,
    /// Names and values; merged by name.
    Map,
    /// Accepted as Go does, and without effect, as in Go.
    Ignored,
}

impl Shape {
    /// What a file writes for it.
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

    /// How a later source changes the value of an earlier one.
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
