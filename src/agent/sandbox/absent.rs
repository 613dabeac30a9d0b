//! The sandbox on systems without Landlock: entering it fails.

use super::rules::Rules;

pub(super) fn restrict(_: &Rules) -> Result<(), String> {
    Err("only Linux has Landlock".to_owned())
}
