//! Filter of members.

use crate::{
    rpc::protocol::MembersFiltered,
    serf::{Allowance, Member, Regex},
};

/// Expressions on members, anchored without grouping, as Go does.
pub(in crate::agent) struct MemberFilter {
    name: Option<Regex>,
    status: Option<Regex>,
    tags: Vec<(String, Regex)>,
}

impl MemberFilter {
    pub(in crate::agent) fn compile(request: &MembersFiltered) -> Result<Self, String> {
        let mut work = Allowance(WORK_MAX);
        let mut compile = |expr: &str| {
            let compiled = Regex::compile_within(format!("^{expr}$").as_bytes(), &mut work);
            compiled.ok_or_else(|| format!("Failed to compile regex: {expr}"))
        };
        let mut optional = |expr: &str| {
            if expr.is_empty() { Ok(None) } else { compile(expr).map(Some) }
        };
        let (name, status) = (optional(&request.name)?, optional(&request.status)?);
        if request.tags.as_ref().is_some_and(|tags| tags.len() > TAGS_MAX) {
            return Err(format!("More than {TAGS_MAX} tags"));
        }
        let mut tags = Vec::new();
        for (tag, expr) in request.tags.iter().flatten() {
            tags.push((tag.clone(), compile(expr)?));
        }
        Ok(Self { name, status, tags })
    }

    pub(super) fn matches(&self, member: &Member) -> bool {
        let passes =
            |expr: &Option<Regex>, text: &str| expr.as_ref().is_none_or(|expr| expr.is_match(text));
        passes(&self.name, &member.name)
            && passes(&self.status, &member.status.to_string())
            && self
                .tags
                .iter()
                .all(|(tag, expr)| expr.is_match(member.tags.get(tag).unwrap_or_default()))
    }
}

/// Tags of one request.
const TAGS_MAX: usize = 64;
/// Work to compile all expressions of a request: some 6 ms.
const WORK_MAX: u64 = 1_200_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_request_has_few_expressions_and_they_cost_little() {
        let compiles = |tags: BTreeMap<String, String>| {
            MemberFilter::compile(&MembersFiltered { tags: Some(tags), ..Default::default() })
        };
        let tags = |count: usize, expr: &str| {
            (0..count).map(|i| (format!("tag-{i}"), expr.to_owned())).collect()
        };
        assert!(compiles(tags(TAGS_MAX, "web|db-[0-9]+")).is_ok());
        assert_eq!(compiles(tags(TAGS_MAX + 1, "a")).err().as_deref(), Some("More than 64 tags"));
        assert!(compiles(tags(1, r"\pL{0,20}")).is_ok());
        let costly = compiles(tags(TAGS_MAX, r"\pL{0,200}")).err();
        assert_eq!(costly.as_deref(), Some(r"Failed to compile regex: \pL{0,200}"));
    }
}
