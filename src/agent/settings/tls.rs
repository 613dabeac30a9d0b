//! The files for TLS of a listener.

use std::path::PathBuf;

/// The configured files; the start checks that the combination is valid and that they are readable.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Prefix of their settings' names.
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

    /// Whether no file is configured, so that TLS is off.
    pub(in crate::agent) fn is_empty(&self) -> bool {
        self.cert.is_none() && self.key.is_none() && self.client_ca.is_none()
    }
}
