//! The default runtime.

use std::sync::Arc;

use super::Runtime;
#[cfg(feature = "smol")]
use super::SmolRuntime;
#[cfg(feature = "tokio")]
use super::TokioRuntime;

/// The runtime of the caller: tokio's if the caller is in one, else smol's, which serves the whole
/// process.
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
