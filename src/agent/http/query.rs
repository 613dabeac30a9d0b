//! Parameters in the query string of a request.

use std::collections::BTreeMap;

use crate::{agent::ipc::MemberFilter, rpc::protocol::MembersFiltered};

/// The parameters of a request. Handlers take those they know; [`Parameters::end`] refuses others.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Takes a parameter that may occur at most once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut given = self.0.extract_if(.., |pair| pair.0 == name);
        let value = given.next().map(|(_, value)| value);
        match given.next() {
            Some(_) => Err(format!("{name} is given twice")),
            None => Ok(value),
        }
    }

    /// Takes `name`, `status`, `tag.NAME` and `tag=NAME=`: expressions that a member has to match
    /// as a whole, as with `serf members`.
    pub(super) fn take_members(&mut self) -> Result<MembersFiltered, String> {
        let name = self.take("name")?.unwrap_or_default();
        let status = self.take("status")?.unwrap_or_default();
        let mut tags = BTreeMap::new();
        for (given, value) in std::mem::take(&mut self.0) {
            if let Some(tag) = given.strip_prefix("tag.") {
                tags.insert(tag.to_owned(), value);
            } else if given == "tag" {
                let pair = value.split_once('=');
                let (tag, expr) = pair.ok_or("tag must be NAME=EXPRESSION")?;
                tags.insert(tag.to_owned(), expr.to_owned());
            } else {
                self.0.push((given, value));
            }
        }
        Ok(MembersFiltered { tags: Some(tags), status, name })
    }

    /// Refuses parameters that were not taken.
    pub(super) fn end(self) -> Result<(), String> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(format!("unknown parameter {name:?}")),
            None => Ok(()),
        }
    }
}

/// Compiles the filter of a request; `None` if it accepts every member.
///
/// # Errors
/// An expression is invalid or too expensive.
pub(super) fn filter(request: &MembersFiltered) -> Result<Option<MemberFilter>, String> {
    let any = request.name.is_empty() && request.status.is_empty();
    if any && request.tags.as_ref().is_none_or(BTreeMap::is_empty) {
        return Ok(None);
    }
    MemberFilter::compile(request).map(Some)
}

/// Decodes the percent-encoding of a path segment.
pub(super) fn decoded(segment: &str) -> String {
    // In a path, a plus sign is not a space.
    let pair = format!("n={}", segment.replace('+', "%2B").replace('&', "%26"));
    let name = form_urlencoded::parse(pair.as_bytes()).next();
    name.map(|(_, name)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_chosen_as_on_the_command_line() {
        let mut all = Parameters::parse(Some("name=a.%2A&tag=role=web|db&tag.dc=x&status=alive"));
        let request = all.take_members().unwrap();
        let tags = [("dc", "x"), ("role", "web|db")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!((request.name.as_str(), request.status.as_str()), ("a.*", "alive"));
        assert_eq!(request.tags, Some(tags.into()));
        assert_eq!(all.end(), Ok(()));
        for (query, error) in [
            ("name=a&name=b", "name is given twice"),
            ("tag=role", "tag must be NAME=EXPRESSION"),
            ("nmae=a", "unknown parameter \"nmae\""),
        ] {
            let mut all = Parameters::parse(Some(query));
            let taken = all.take_members().and_then(|_| all.end());
            assert_eq!(taken.unwrap_err(), error);
        }
    }

    #[test]
    fn names_in_paths_are_decoded() {
        for (segment, name) in [("a", "a"), ("a%20b", "a b"), ("a+b", "a+b"), ("a&b=c", "a&b=c")] {
            assert_eq!(decoded(segment), name);
        }
    }
}
