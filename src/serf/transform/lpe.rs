//! Length-prefixed encoding for clusters without Go.
/// Length-prefixed encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct LpeTransform;
