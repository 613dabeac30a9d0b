//! Filter of members.

use crate::{
    rpc::protocol::MembersFiltered,
    serf::{Member, Regex},
};

/// Expressions on members, anchored without grouping, as Go does.
pub(super) struct MemberFilter {
    name: Option<Regex>,
    status: Option<Regex>,
    tags: Vec<(String, Regex)>,
}

impl MemberFilter {
    pub(super) fn compile(request: &MembersFiltered) -> Result<Self, String> {
        let compile = |expr: &str| {
            let compiled = Regex::compile(format!("^{expr}$").as_bytes());
            compiled.ok_or_else(|| format!("Failed to compile regex: {expr}"))
        };
        let optional = |expr: &str| {
            if expr.is_empty() { Ok(None) } else { compile(expr).map(Some) }
        };
        let (name, status) = (optional(&request.name)?, optional(&request.status)?);
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
