//! Certificates and keys in PEM files.

use std::{fs::File, io::Read as _, path::Path, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    agent::secrets,
    base::go_net,
    transport::rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{NoServerSessionStorage, WebPkiClientVerifier},
        version::TLS13,
    },
};

/// Creates the configuration of a server. With `client_ca`, only clients with a certificate signed
/// by one of its authorities are accepted. Blocks.
///
/// # Errors
/// A file cannot be read or its content is invalid.
pub(super) fn server_config(
    cert: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<ServerConfig, String> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let of = |error| format!("{}: {error}", path.display());
            builder.with_client_cert_verifier(verifier.map_err(of)?)
        }
    };
    let (chain, private) = (certificates(cert)?, private_key(key)?);
    let config = builder.with_single_cert(chain, private);
    let mut config = config.map_err(|error| format!("{}: {error}", cert.display()))?;
    // No resumption: each connection must be verified against the current authorities.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Creates the configuration of a client that accepts agents whose certificate is signed by one of
/// the authorities in `ca`. `own`: certificate and key of the client. Blocks.
///
/// # Errors
/// A file cannot be read or its content is invalid.
pub(crate) fn client_config(
    ca: &Path,
    own: Option<(&Path, &Path)>,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(authorities(ca)?);
    let Some((cert, key)) = own else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(certificates(cert)?, private_key(key)?)
        .map_err(|error| format!("{}: {error}", cert.display()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let reason = |error: std::io::Error| format!("open {shown}: {}", go_net::error_text(&error));
    let mut pem = Vec::new();
    let file = File::open(path).map_err(reason)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut pem).map_err(reason)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{shown} contains no PEM certificate")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem: Zeroizing<Vec<u8>> = secrets::read_private(path, PEM_BYTES_MAX)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("{} contains no PEM private key", path.display()))
}

/// Most bytes of a file. A system's bundle of authorities has about a quarter of that.
const PEM_BYTES_MAX: u64 = 1 << 20;
