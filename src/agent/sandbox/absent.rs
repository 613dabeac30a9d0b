//! What stands for Landlock on other systems.

use super::rules::Rules;

pub(super) fn restrict(_: &Rules) -> Result<(), String> {
    Err("only Linux has Landlock".to_owned())
}
