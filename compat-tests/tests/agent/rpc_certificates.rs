//! Goal: a name in the certificate of a client does what its entry in the tokens file allows and
//! nothing else, over RPC and HTTP, unless the client shows a token, and as long as the entry is
//! there.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{Kind, serf},
    rpc::{Client, Value},
    wait::PATIENCE,
};
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use super::{
    rpc_tls::{Authority, showing},
    rpc_tokens::{CAPABILITIES, body, each_allows_its_own},
};

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

struct Stage {
    dir: TempDir,
    ip: String,
}

impl Stage {
    /// With the certificates of the agent and of these clients, each for some names.
    fn new(clients: &[(&str, &[&str])]) -> Self {
        let stage = Self { dir: tempfile::tempdir().unwrap(), ip: Net::new().ip(2) };
        let ca = Authority::new(stage.dir.path(), "ca");
        ca.sign("server", &[&stage.ip]);
        clients.iter().for_each(|(name, names)| ca.sign(name, names));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn agent(&self, flags: &[&str]) -> Peer {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let [tokens, cert, key, ca] =
            ["tokens.json", "server.pem", "server.key", "ca.pem"].map(file);
        let mut all = vec!["-rpc-tokens-file", &tokens, "-rpc-tls-cert", &cert];
        all.extend(["-rpc-tls-key", &key, "-rpc-tls-client-ca", &ca]);
        all.extend(flags);
        Peer::start(Kind::Ours, "a", &self.ip, &all)
    }

    /// A connection that shows a certificate.
    fn connect(&self, addr: &str, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let config = Arc::new(showing(&self.path("ca.pem"), name));
        let host = self.ip.clone().try_into().unwrap();
        let socket = TcpStream::connect(addr).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ClientConnection::new(config, host).unwrap(), socket)
    }

    /// A client of the RPC that shows a certificate, and no token.
    fn client(&self, agent: &Peer, name: &str) -> TlsClient {
        Client::over(self.connect(&agent.rpc, name)).shaken()
    }

    /// The status that HTTP answers to a client with a certificate, and a token if it has one.
    fn status(&self, http: &str, name: &str, token: Option<&str>) -> String {
        let mut stream = self.connect(http, name);
        let auth = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let auth = auth.unwrap_or_default();
        write!(stream, "GET /v1/members HTTP/1.1\r\nHost: {http}\r\n{auth}\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8(head[9..].to_vec()).unwrap()
    }
}

/// Writes the tokens file in one step.
fn write(path: &Path, entries: &serde_json::Value) {
    let new = path.with_extension("new");
    fs::write(&new, entries.to_string()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Method: as with tokens; half of the certificates have a DNS name, the others a URI.
#[test]
fn each_capability_of_a_certificate_allows_its_commands_and_no_other() {
    let names = CAPABILITIES.into_iter().chain(["nothing"]).enumerate();
    let named: Vec<_> = names
        .map(|(n, name)| match n % 2 {
            0 => (name, format!("{name}.example")),
            _ => (name, format!("spiffe://ops/{name}")),
        })
        .collect();
    let each: Vec<[&str; 1]> = named.iter().map(|(_, san)| [san.as_str()]).collect();
    let clients: Vec<(&str, &[&str])> =
        named.iter().zip(&each).map(|((name, _), san)| (*name, &san[..])).collect();
    let stage = Stage::new(&clients);
    let entries: serde_json::Map<_, _> = named
        .iter()
        .map(|(name, san)| {
            let allow: Vec<_> = Some(name).filter(|name| **name != "nothing").into_iter().collect();
            ((*name).to_owned(), json!({ "certificate": san, "allow": allow }))
        })
        .collect();
    write(&stage.path("tokens.json"), &entries.into());
    let mut a = stage.agent(&[]);
    each_allows_its_own("certificate", |name| stage.client(&a, name));
    for name in ["leave", "admin"] {
        assert_eq!(stage.client(&a, name).call("leave", 3, None).text("Error"), "", "{name}");
        a.ends_with(0, "");
        a.restart();
    }
}

/// Method: certificates whose common name, e-mail, wildcard or URI look like a name with rights;
/// then tokens over connections with a certificate.
#[test]
fn no_other_name_of_a_certificate_counts_and_a_token_wins() {
    let stage = Stage::new(&[
        ("ops", &["ops.example", "spiffe://ops/web"]),
        ("events", &["OPS.Example", "events.example"]),
        // Its common name is that of an entry, and so is what its wildcard would match.
        ("build-host", &["*.example"]),
        ("nobody", &[]),
    ]);
    let token = "the token of events";
    write(
        &stage.path("tokens.json"),
        &json!({
            "ops": { "certificate": "ops.example", "allow": ["read"] },
            "web": { "certificate": "spiffe://ops/web", "allow": ["query"] },
            "build": { "certificate": "build-host", "allow": ["admin"] },
            "events": { "token": token, "allow": ["event"] },
        }),
    );
    let http = format!("{}:8080", stage.ip);
    let file = |name: &str| stage.path(name).to_str().unwrap().to_owned();
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(file);
    let mut flags = vec!["-audit", "-http-addr", &http, "-http-tls-cert", &cert];
    flags.extend(["-http-tls-key", &key, "-http-tls-client-ca", &ca]);
    let a = stage.agent(&flags);
    for name in ["nobody", "build-host"] {
        let mut client = stage.client(&a, name);
        assert_eq!(client.call("members", 2, None).text("Error"), "Authentication required");
        assert_eq!(stage.status(&http, name, None), "401");
        assert_eq!(stage.status(&http, name, Some(token)), "403");
    }
    // What both of its names allow.
    let mut ops = stage.client(&a, "ops");
    let from = ops.socket().sock.local_addr().unwrap();
    assert_eq!(ops.call("members", 2, None).text("Error"), "");
    ops.next();
    assert_eq!(ops.call("query", 3, body("query")).text("Error"), "");
    let refused = |error: String, by: &str| {
        assert!(error.starts_with(&format!("Permission denied: {by} lacks ")), "{error}");
    };
    let mut events = stage.client(&a, "events");
    refused(events.call("event", 3, body("event")).text("Error"), "certificate 'ops'");
    // The token wins, also where it allows less; a wrong one changes nothing.
    let auth = |token: &str| Some(Value::map([("AuthKey", token.into())]));
    let wrong = events.call("auth", 4, auth("an unknown token")).text("Error");
    assert_eq!(wrong, "Invalid authentication token");
    refused(events.call("event", 5, body("event")).text("Error"), "certificate 'ops'");
    assert_eq!(events.call("auth", 6, auth(token)).text("Error"), "");
    assert_eq!(events.call("event", 7, body("event")).text("Error"), "");
    refused(events.call("members", 8, None).text("Error"), "token 'events'");
    let line = a.wait_for_line("audit: token=\"events\" certificate=\"events\" from=");
    assert!(line.ends_with("command=event outcome=\"ok\" object=\"e\""), "{line}");
    a.wait_for_line(&format!(
        "audit: entry=\"ops,web\" certificate=\"ops.example spiffe://ops/web\" from={from} \
         command=query outcome=\"ok\" object=\"q\""
    ));
    assert_eq!(stage.status(&http, "ops", None), "200");
    assert_eq!(stage.status(&http, "ops", Some(token)), "403");
    assert_eq!(stage.status(&http, "ops", Some("an unknown token")), "401");
}

/// Method: entries change while clients are connected. The agent looks each second.
#[test]
fn an_entry_that_changes_ends_the_connections_that_rest_on_it() {
    let stage = Stage::new(&[("ops", &["ops.example"]), ("web", &["web.example"])]);
    let path = stage.path("tokens.json");
    let entry = |san: &str, allow: &[&str]| json!({ "certificate": san, "allow": allow });
    let [ops, web] = ["ops.example", "web.example"];
    let token = "the token of all";
    let full = json!({ "token": token, "allow": ["admin"] });
    write(
        &path,
        &json!({ "ops": entry(ops, &["admin"]), "web": entry(web, &["read"]), "full": full }),
    );
    let a = stage.agent(&[]);
    let works = |client: &mut TlsClient| {
        assert_eq!(client.call("stop", 5, body("stop")).text("Error"), "");
    };
    let [mut first, mut other] = ["ops", "web"].map(|name| stage.client(&a, name));
    // This one rests on its token.
    let mut shown = stage.client(&a, "ops");
    let auth = Value::map([("AuthKey", token.into())]);
    assert_eq!(shown.call("auth", 2, Some(auth)).text("Error"), "");
    [&mut first, &mut other, &mut shown].into_iter().for_each(works);
    write(
        &path,
        &json!({ "ops": entry(ops, &["event"]), "web": entry(web, &["read"]), "full": full }),
    );
    assert_eq!(first.until_closed(), []);
    [&mut other, &mut shown].into_iter().for_each(works);
    let mut narrow = stage.client(&a, "ops");
    assert_eq!(narrow.call("event", 3, body("event")).text("Error"), "");
    let error = narrow.call("tags", 4, body("tags")).text("Error");
    assert!(error.contains("certificate 'ops' lacks 'tags'"), "{error}");
    // The entry moves to another name.
    write(&path, &json!({ "ops": entry("new.example", &["event"]), "full": full }));
    assert_eq!([narrow.until_closed(), other.until_closed()], [[], []]);
    works(&mut shown);
    let error = stage.client(&a, "ops").call("event", 3, body("event")).text("Error");
    assert_eq!(error, "Authentication required");
    a.signal("HUP");
    works(&mut shown);
}

#[test]
fn entries_with_certificates_need_a_listener_that_asks_for_them() {
    let stage = Stage::new(&[]);
    let path = stage.path("tokens.json");
    write(&path, &json!({ "ops": { "certificate": "ops.example", "allow": ["read"] } }));
    let file = path.to_str().unwrap();
    let mut a = Launch::new(Kind::Ours, "a", &stage.ip).args(&["-rpc-tokens-file", file]).spawn();
    let reason = "entry 'ops' has a certificate, but rpc_tls_client_ca is not set";
    a.ends_with(1, reason);
    let config = stage.path("c.json");
    fs::write(&config, json!({ "rpc_tokens_file": file }).to_string()).unwrap();
    let said = serf(Kind::Ours, "", &["validate", config.to_str().unwrap()]);
    assert!(said.code == Some(1) && said.out.contains(reason), "{said:?}");
}
