//! Enforces the rules with Landlock.

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, path_beneath_rules,
};

use super::rules::Rules;

/// Restricts this thread, and all threads and programs started by it, permanently.
///
/// # Errors
/// The kernel does not support all of the rules.
pub(super) fn restrict(rules: &Rules) -> Result<(), String> {
    match enforce(rules) {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced) => {
            Err("this kernel's Landlock is too old: Linux 6.2 has all of it".to_owned())
        }
        Ok(RulesetStatus::NotEnforced) => Err("this kernel has no Landlock".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn enforce(rules: &Rules) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(VERSION);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    // Writable files are not executable.
    let write = all & !BitFlags::from(AccessFs::Execute);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(&rules.read, read))?
        .add_rules(path_beneath_rules(&rules.write, write))?
        .add_rules(path_beneath_rules(&rules.run, AccessFs::from_read(VERSION)))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Linux 6.2, the first version that can forbid truncation.
const VERSION: ABI = ABI::V3;
