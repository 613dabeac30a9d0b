//! Replacement for a build without the feature `agent-tls`: settings for TLS are refused.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Identity;
use crate::agent::{AgentError, settings::TlsFiles};

/// Has no values in this build.
pub(in crate::agent) enum ServerTls {}

type Secured =
    (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>, Option<Identity>);

impl ServerTls {
    /// # Errors
    /// The settings configure TLS.
    pub(in crate::agent) fn open(files: &TlsFiles) -> Result<Option<Self>, AgentError> {
        if files.is_empty() {
            return Ok(None);
        }
        let what = files.what;
        Err(AgentError::Invalid(format!("Invalid {what}_cert: this program was built without TLS")))
    }

    pub(in crate::agent) async fn secure(
        &self,
        _: Box<dyn AsyncRead + Send + Unpin>,
        _: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> Result<Secured, String> {
        match *self {}
    }

    pub(in crate::agent) fn wants_certificates(&self) -> bool {
        match *self {}
    }

    pub(in crate::agent) fn reread_if_changed(&self) {
        match *self {}
    }

    pub(in crate::agent) fn reread(&self) -> Result<(), AgentError> {
        match *self {}
    }
}
