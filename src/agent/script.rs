//! Specifications of event handlers: which events run which script. Go:
//! `cmd/serf/command/agent/event_handler.go`.

use std::fmt;

use crate::{driver::Event, serf::MemberEventKind};

/// A kind of event, optionally with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `*`
    All,
    /// A member event.
    Member(MemberEventKind),
    /// `user` or `user:NAME`; an empty name: all.
    User(String),
    /// `query` or `query:NAME`; an empty name: all.
    Query(String),
    /// An invalid filter.
    Unknown(String),
}

impl Filter {
    /// Parses a comma-separated list of filters; an empty text means all events. Validate each with
    /// [`Self::is_valid`].
    pub fn parse_list(text: &str) -> Vec<Self> {
        if text.is_empty() {
            return vec![Self::All];
        }
        text.split(',').map(Self::parse).collect()
    }

    fn parse(text: &str) -> Self {
        match text {
            "*" => Self::All,
            "member-join" => Self::Member(MemberEventKind::Join),
            "member-leave" => Self::Member(MemberEventKind::Leave),
            "member-failed" => Self::Member(MemberEventKind::Failed),
            "member-update" => Self::Member(MemberEventKind::Update),
            "member-reap" => Self::Member(MemberEventKind::Reap),
            "user" => Self::User(String::new()),
            "query" => Self::Query(String::new()),
            _ => match text.split_once(':') {
                Some(("user", name)) => Self::User(name.to_owned()),
                Some(("query", name)) => Self::Query(name.to_owned()),
                Some(_) | None => Self::Unknown(text.to_owned()),
            },
        }
    }

    /// Whether the filter can match an event.
    pub fn is_valid(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether `event` matches. No filter matches [`Event::Lagged`].
    pub fn matches(&self, event: &Event) -> bool {
        let named = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
        match (self, event) {
            (_, Event::Lagged(_)) | (Self::Unknown(_), _) => false,
            (Self::All, _) => true,
            (Self::Member(kind), Event::Member(event)) => *kind == event.kind,
            (Self::User(name), Event::User(event)) => named(name, &event.name),
            (Self::Query(name), Event::Query(query)) => named(name, query.name()),
            (Self::Member(_) | Self::User(_) | Self::Query(_), _) => false,
        }
    }

    /// `EVENT` and `NAME`, which are two fields in Go.
    fn parts(&self) -> (String, &str) {
        match self {
            Self::All => ("*".to_owned(), ""),
            Self::Member(kind) => (kind.to_string(), ""),
            Self::User(name) => ("user".to_owned(), name),
            Self::Query(name) => ("query".to_owned(), name),
            Self::Unknown(text) => (text.clone(), ""),
        }
    }

    /// `EVENT:NAME`, the key used in `serf info`.
    pub fn key(&self) -> String {
        let (event, name) = self.parts();
        format!("{event}:{name}")
    }
}

/// A script and the events that run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventScript {
    /// Events that trigger the script.
    pub filter: Filter,
    /// Shell command.
    pub script: String,
}

impl EventScript {
    /// Splits `[FILTERS=]SCRIPT` at the first `=`; one entry for each filter.
    pub fn parse(spec: &str) -> Vec<Self> {
        let (filters, script) = spec.split_once('=').unwrap_or(("", spec));
        Filter::parse_list(filters)
            .into_iter()
            .map(|filter| Self { filter, script: script.to_owned() })
            .collect()
    }
}

impl fmt::Display for EventScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, name) = self.filter.parts();
        let colon = if name.is_empty() { "" } else { ":" };
        write!(f, "Event '{event}{colon}{name}' invoking '{}'", self.script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // parity: handlers: Spec parsing
    #[test]
    fn specifications_split_at_the_first_equals_sign_and_at_commas() {
        let user = |name: &str| Filter::User(name.to_owned());
        let cases = [
            ("script.sh", vec![(Filter::All, "script.sh")]),
            ("*=FOO=1 ./x.sh", vec![(Filter::All, "FOO=1 ./x.sh")]),
            ("=x", vec![(Filter::All, "x")]),
            (
                "member-join,user:deploy=/path a b",
                vec![
                    (Filter::Member(MemberEventKind::Join), "/path a b"),
                    (user("deploy"), "/path a b"),
                ],
            ),
            ("user:=x", vec![(user(""), "x")]),
            ("query:a:b=x", vec![(Filter::Query("a:b".into()), "x")]),
            ("FOO=1 ./x.sh", vec![(Filter::Unknown("FOO".into()), "1 ./x.sh")]),
            ("member-*=x", vec![(Filter::Unknown("member-*".into()), "x")]),
            ("user, query=x", vec![(user(""), "x"), (Filter::Unknown(" query".into()), "x")]),
        ];
        for (spec, expected) in cases {
            let parsed: Vec<_> =
                EventScript::parse(spec).into_iter().map(|s| (s.filter, s.script)).collect();
            let expected: Vec<_> = expected.into_iter().map(|(f, s)| (f, s.to_owned())).collect();
            assert_eq!(parsed, expected, "{spec}");
        }
    }

    #[test]
    fn mistakes_are_named_as_go_names_them() {
        let shown = |spec| EventScript::parse(spec)[0].to_string();
        assert_eq!(shown("foo=bar.sh"), "Event 'foo' invoking 'bar.sh'");
        assert_eq!(shown("user:x=bar.sh"), "Event 'user:x' invoking 'bar.sh'");
        assert_eq!(EventScript::parse("user:x=bar.sh")[0].filter.key(), "user:x");
        assert_eq!(EventScript::parse("bar.sh")[0].filter.key(), "*:");
    }
}
