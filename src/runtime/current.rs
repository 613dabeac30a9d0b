//! The runtime that is meant where none is named.

use std::sync::Arc;

use super::Runtime;
#[cfg(feature = "smol")]
use super::SmolRuntime;
#[cfg(feature = "tokio")]
use super::TokioRuntime;

/// The runtime that the caller is in: tokio's if there is one, else smol's, which is there for the
/// whole process.
pub(crate) fn current() -> Option<Arc<dyn Runtime>> {
    #[cfg(feature = "tokio")]
    if let Some(runtime) = TokioRuntime::current() {
        return Some(Arc::new(runtime));
    }
    #[cfg(feature = "smol")]
    return Some(Arc::new(SmolRuntime));
    #[cfg(not(feature = "smol"))]
    None
}
