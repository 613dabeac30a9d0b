//! The files of a listener under TLS.

use std::path::PathBuf;

/// Those that are configured; whether they go together and can be read is seen at the start.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// What their keys in the configuration begin with.
    pub what: &'static str,
    /// Certificate, with its chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Authorities of the clients' certificates.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Certificate, key and authorities.
    pub(super) fn new(what: &'static str, files: [Option<String>; 3]) -> Self {
        let [cert, key, client_ca] = files.map(|file| file.map(PathBuf::from));
        Self { what, cert, key, client_ca }
    }

    /// Whether there are none: no TLS is wanted.
    pub(in crate::agent) fn is_empty(&self) -> bool {
        self.cert.is_none() && self.key.is_none() && self.client_ca.is_none()
    }
}
