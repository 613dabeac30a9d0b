//! Goal: the RPC under TLS serves those with the right certificates and nobody else, while its
//! files change, and clients that never finish a handshake keep nobody out.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use compat_tests::{
    net::Net,
    node::runtime,
    peer::{Launch, Peer},
    process::{Kind, Process, Said},
    wait::{PATIENCE, eventually},
};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SanType};
use ruserf::{
    client::{Client, Config, Tls},
    transport::rustls::{
        ClientConfig, ConfigBuilder, RootCertStore,
        client::WantsClientCert,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tempfile::TempDir;

/// Makes certificates, as files of a directory.
pub(super) struct Authority<'d> {
    dir: &'d Path,
    issuer: Issuer<'static, KeyPair>,
}

impl<'d> Authority<'d> {
    /// NAME.pem is its own certificate.
    pub(super) fn new(dir: &'d Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        write(&dir.join(name).with_extension("pem"), "CERTIFICATE", own.der());
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// NAME.pem and NAME.key: a certificate for these hosts and URIs.
    pub(super) fn sign(&self, name: &str, hosts: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let (uris, hosts): (Vec<_>, Vec<_>) =
            hosts.iter().map(|&host| host.to_owned()).partition(|host| host.contains("://"));
        let mut params = CertificateParams::new(hosts).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.dir.join(name);
        write(&path.with_extension("key"), "PRIVATE KEY", &key.serialize_der());
        write(&path.with_extension("pem"), "CERTIFICATE", certificate.der());
    }
}

/// In one step, as those do that renew certificates.
fn write(path: &Path, kind: &str, der: &[u8]) {
    let new = path.with_extension("new");
    let text = BASE64.encode(der);
    fs::write(&new, format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// A client that trusts an authority.
fn trusting(ca: &Path) -> ClientConfig {
    client_config(ca).with_no_client_auth()
}

/// A client that trusts an authority, and shows NAME.pem of the same directory.
pub(super) fn showing(ca: &Path, name: &str) -> ClientConfig {
    let file = |end: &str| fs::read(ca.with_file_name(name).with_extension(end)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&file("pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("key")).unwrap();
    client_config(ca).with_client_auth_cert(vec![certificate], key).unwrap()
}

fn client_config(ca: &Path) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let pem = fs::read(ca).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

struct Stage {
    net: Net,
    dir: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self { net: Net::new(), dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// An agent with server.pem, and for clients of `client_ca` alone unless it is empty.
    fn agent(&self, client_ca: &str, flags: &[&str]) -> Peer {
        let [cert, key, ca] = ["server.pem", "server.key", client_ca].map(|name| self.text(name));
        let mut all = vec!["-rpc-tls-cert", &cert, "-rpc-tls-key", &key];
        if !client_ca.is_empty() {
            all.extend(["-rpc-tls-client-ca", &ca]);
        }
        all.extend(flags);
        Peer::start(Kind::Ours, "a", &self.net.ip(2), &all)
    }

    /// `serf members` of ours, with names of files for these flags.
    fn members(&self, agent: &Peer, flags: &[(&str, &str)]) -> Said {
        let mut command = Command::new(Kind::Ours.program());
        command.arg("members").env("SERF_RPC_ADDR", &agent.rpc).env_remove("SERF_RPC_AUTH");
        for (flag, name) in flags {
            let is_file = name.ends_with(".pem") || name.ends_with(".key");
            let value = if is_file { self.text(name) } else { (*name).to_owned() };
            command.arg(format!("-{flag}={value}"));
        }
        let mut process = Process::start(command);
        let code = process.wait();
        Said { out: process.out(), err: process.err(), code }
    }
}

#[test]
fn rpc_by_tls_serves_those_who_trust_the_certificate_and_show_their_own() {
    let stage = Stage::new();
    let ip = stage.net.ip(2);
    let ca = Authority::new(stage.dir.path(), "ca");
    Authority::new(stage.dir.path(), "stranger").sign("other", &["other"]);
    ca.sign("server", &[&ip, "agent.example"]);
    ca.sign("ops", &[]);
    let a = stage.agent("ca.pem", &["-audit"]);
    let own = [("rpc-ca", "ca.pem"), ("rpc-cert", "ops.pem"), ("rpc-key", "ops.key")];
    let good = stage.members(&a, &own);
    assert!(good.code == Some(0) && good.out.starts_with("a "), "{good:?}\n{}", a.log_tail());
    let named = [&own[..], &[("rpc-name", "agent.example")]].concat();
    assert_eq!(stage.members(&a, &named).code, Some(0));
    for (flags, reason) in [
        (&own[..1], "it may want a certificate of the client"),
        (
            &[("rpc-ca", "ca.pem"), ("rpc-cert", "other.pem"), ("rpc-key", "other.key")],
            "it may want a certificate of the client, or another one",
        ),
        (&[("rpc-ca", "stranger.pem")], "TLS handshake: invalid peer certificate: UnknownIssuer"),
        (
            &[("rpc-ca", "ca.pem"), ("rpc-name", "b.example")],
            "TLS handshake: invalid peer certificate",
        ),
        (&[], "-rpc-addr must be the address of an agent's RPC"),
        (&[("rpc-tls", "true")], "-rpc-tls needs -rpc-ca"),
        (&[("rpc-ca", "ca.pem"), ("rpc-cert", "ops.pem")], "-rpc-cert and -rpc-key belong"),
        (&[("rpc-ca", "none.pem")], "none.pem: no such file or directory"),
        (&[("rpc-ca", "ops.key")], "ops.key contains no PEM certificate"),
    ] {
        let said = stage.members(&a, flags);
        let all = format!("{}{}", said.out, said.err);
        assert!(said.code == Some(1) && all.contains(reason), "{flags:?}: {all}");
    }
    // The same by variables of the environment; and the audit knows the certificate.
    let mut command = Command::new(Kind::Ours.program());
    command.args(["event", "deploy"]).env("SERF_RPC_ADDR", &a.rpc).env("SERF_RPC_TLS", "1");
    for (name, file) in
        [("SERF_RPC_CA", "ca.pem"), ("SERF_RPC_CERT", "ops.pem"), ("SERF_RPC_KEY", "ops.key")]
    {
        command.env(name, stage.path(file));
    }
    assert_eq!(Process::start(command).wait(), Some(0));
    let line = a.wait_for_line("audit: certificate=\"ops\" from=");
    assert!(line.ends_with("command=event outcome=\"ok\" object=\"deploy\""), "{line}");
    a.wait_for_line("TLS handshake of client");
}

/// Method: a client of the library stays connected while the agent's files are replaced by those of
/// another authority, and then broken.
#[test]
fn new_certificates_are_taken_over_and_broken_ones_are_not() {
    let stage = Stage::new();
    let ip = stage.net.ip(2);
    let [old, new] = ["old", "new"].map(|name| Authority::new(stage.dir.path(), name));
    old.sign("server", &[&ip]);
    let a = stage.agent("", &[]);
    let connect = |ca: &str| {
        let config = trusting(&stage.path(ca));
        let mut agent = Config::new(a.rpc.clone());
        agent.tls = Some(Tls::new(config.into(), ip.clone().try_into().unwrap()));
        Client::connect(agent)
    };
    let runtime = runtime();
    let client = runtime.block_on(connect("old.pem")).unwrap();
    let works = || runtime.block_on(client.members()).unwrap().len() == 1;
    assert!(works() && runtime.block_on(connect("new.pem")).is_err());
    new.sign("server", &[&ip]);
    eventually("the new certificate is shown", || {
        runtime.block_on(connect("new.pem")).is_ok().then_some(())
    });
    assert!(works() && runtime.block_on(connect("old.pem")).is_err());
    fs::write(stage.path("server.pem"), "nothing").unwrap();
    a.wait_for_line("Failed to reload the certificate: Invalid rpc_tls_cert: ");
    assert!(runtime.block_on(connect("new.pem")).is_ok());
    new.sign("server", &[&ip]);
    fs::set_permissions(stage.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    a.wait_for_line("server.key is open to others (mode 0644): chmod 600 or 640");
    assert!(works() && runtime.block_on(connect("new.pem")).is_ok());
    a.signal("HUP");
    a.wait_for_line("Failed to reload a file: Invalid rpc_tls_cert: ");
    let failed = |line: &&String| line.contains("Failed to reload the certificate");
    let count = a.printed().iter().filter(failed).count();
    assert!((2..=3).contains(&count), "{count} lines");
}

/// The start of what HTTP answers, by TLS with these authorities.
fn get(http: &str, ip: &str, ca: &Path) -> std::io::Result<String> {
    let config = Arc::new(trusting(ca));
    let name = ip.to_owned().try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(config, name).unwrap();
    let mut socket = TcpStream::connect(http)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    write!(stream, "GET /v1/members HTTP/1.1\r\nHost: {http}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8(head.to_vec()).unwrap())
}

#[test]
fn http_by_tls_serves_those_who_trust_its_certificate() {
    let stage = Stage::new();
    let (ip, http) = (stage.net.ip(2), format!("{}:8080", stage.net.ip(2)));
    let [ca, other] = ["ca", "other"].map(|name| Authority::new(stage.dir.path(), name));
    ca.sign("server", &[&ip]);
    let [cert, key] = ["server.pem", "server.key"].map(|name| stage.text(name));
    let flags = ["-http-addr", &http, "-http-tls-cert", &cert, "-http-tls-key", &key];
    let a = Peer::start(Kind::Ours, "a", &ip, &flags);
    assert_eq!(get(&http, &ip, &stage.path("ca.pem")).unwrap(), "HTTP/1.1 200");
    let refused = get(&http, &ip, &stage.path("other.pem")).unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let mut clear = TcpStream::connect(&http).unwrap();
    clear.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    other.sign("server", &[&ip]);
    eventually("the new certificate is shown", || get(&http, &ip, &stage.path("other.pem")).ok());
    // The RPC of the same agent is in clear.
    a.wait_for_members(1);
}

/// Method: 400 clients of one address connect and send nothing, or a part of a handshake.
#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    let stage = Stage::new();
    let ip = stage.net.ip(2);
    Authority::new(stage.dir.path(), "ca").sign("server", &[&ip]);
    let a = stage.agent("", &[]);
    let held: Vec<_> = (0..400)
        .map(|n| {
            let mut stream = TcpStream::connect(&a.rpc).unwrap();
            if n % 2 == 0 {
                // It may be closed already, to make room.
                let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01");
            }
            stream
        })
        .collect();
    let said = stage.members(&a, &[("rpc-ca", "ca.pem")]);
    assert_eq!(said.code, Some(0), "{said:?}\n{}", a.log_tail());
    for mut stream in held {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Closed by the agent, with or without an alert.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.raw_os_error() == Some(104)));
    }
}

#[test]
fn an_agent_does_not_start_with_certificates_that_it_cannot_use() {
    let stage = Stage::new();
    let ca = Authority::new(stage.dir.path(), "ca");
    ca.sign("server", &["a"]);
    ca.sign("b", &["b"]);
    fs::copy(stage.path("server.key"), stage.path("open.key")).unwrap();
    fs::set_permissions(stage.path("open.key"), fs::Permissions::from_mode(0o640 | 0o004)).unwrap();
    for (files, reason) in [
        (&[("cert", "server.pem")][..], "rpc_tls_cert and rpc_tls_key must be set together"),
        (&[("client-ca", "ca.pem")], "rpc_tls_cert and rpc_tls_key must be set together"),
        (&[("cert", "server.pem"), ("key", "b.key")], "Invalid rpc_tls_cert: "),
        (&[("cert", "server.pem"), ("key", "open.key")], "open.key is open to others (mode 0644)"),
        (&[("cert", "server.pem"), ("key", "server.pem")], "contains no PEM private key"),
        (&[("cert", "server.key"), ("key", "server.key")], "contains no PEM certificate"),
    ] {
        let flags: Vec<_> = files
            .iter()
            .flat_map(|(flag, name)| [format!("-rpc-tls-{flag}"), stage.text(name)])
            .collect();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let mut a = Launch::new(Kind::Ours, "a", &stage.net.ip(3)).args(&flags).spawn();
        a.ends_with(1, reason);
    }
}
