//! TLS in a program that was built without it: settings that ask for it are refused.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Identity;
use crate::agent::{AgentError, settings::TlsFiles};

/// There is none.
pub(in crate::agent) enum ServerTls {}

type Secured =
    (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>, Option<Identity>);

impl ServerTls {
    /// Refuses settings that want TLS.
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
