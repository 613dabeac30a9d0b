//! Every transport carries what the protocol needs: datagrams of all sizes, whole streams both
//! ways, and a cluster that forms, exchanges messages and detects failures; a silent peer does not
//! affect others.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use compat_tests::wait::eventually_async;
use memberlist::{net::NetTransportOptions, transport::resolver::socket_addr::SocketAddrResolver};
use ruserf::{
    Config, Event, MemberStatus, QueryParams, QueryUpdate, Serf, Subscribe,
    transport::{
        MemberlistTransport, NetTransport, QuicTransport, TlsTransport, Transport,
        rustls::{
            ClientConfig, RootCertStore, ServerConfig,
            pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
            server::WebPkiClientVerifier,
        },
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

#[tokio::test(flavor = "multi_thread")]
async fn udp_and_tcp_carry_a_cluster() {
    carries_everything(|| async { NetTransport::bind(any()).expect("a port") }).await;
    forms_a_cluster(|| async { NetTransport::bind(any()).expect("a port") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_carries_a_cluster() {
    let (client, server) = Authority::new().configs();
    let make = || async { tls_transport(&client, &server) };
    carries_everything(make).await;
    forms_a_cluster(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_carries_a_cluster() {
    let (client, server) = Authority::new().configs();
    let make = || async { quic_transport(&client, &server) };
    carries_everything(make).await;
    forms_a_cluster(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crate_memberlist_on_tokio() {
    use memberlist::{
        agnostic::tokio::TokioRuntime,
        net::{TokioNetTransport, stream_layer::tcp::Tcp},
    };
    type Crate = TokioNetTransport<u64, SocketAddrResolver<TokioRuntime>, Tcp<TokioRuntime>>;
    let make = || async {
        let mut options = NetTransportOptions::new(0);
        options.add_bind_address(any());
        MemberlistTransport::<Crate>::new(options).await.expect("a port")
    };
    carries_everything(make).await;
    forms_a_cluster(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crate_memberlist_on_smol() {
    use memberlist::{
        agnostic::smol::SmolRuntime,
        net::{SmolNetTransport, stream_layer::tcp::Tcp},
    };
    type Crate = SmolNetTransport<u64, SocketAddrResolver<SmolRuntime>, Tcp<SmolRuntime>>;
    let make = || async {
        let mut options = NetTransportOptions::new(0);
        options.add_bind_address(any());
        MemberlistTransport::<Crate>::new(options).await.expect("a port")
    };
    carries_everything(make).await;
    forms_a_cluster(make).await;
}

/// Handshakes that never go on must not keep the next peer waiting.
#[tokio::test(flavor = "multi_thread")]
async fn silent_peers_hold_nobody_up_under_tls() {
    let (client, server) = Authority::new().configs();
    let (a, b) = (tls_transport(&client, &server), tls_transport(&client, &server));
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(a.local_addr()).await.expect("a connection"));
    }
    let both = async { tokio::join!(b.connect(a.local_addr()), a.accept()) };
    let (dialled, accepted) = timeout(PATIENCE, both).await.expect("in time");
    dialled.expect("a handshake");
    assert_eq!(accepted.expect("a handshake").1.ip(), a.local_addr().ip());
}

/// A peer without a certificate of the cluster gets nothing in and nothing out.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let ours = Authority::new().configs();
    let theirs = Authority::new().configs();
    let node = tls_transport(&ours.0, &ours.1);
    let stranger = tls_transport(&theirs.0, &theirs.1);
    let accept = timeout(Duration::from_secs(2), node.accept());
    let (dialled, accepted) = tokio::join!(stranger.connect(node.local_addr()), accept);
    assert!(dialled.is_err() && accepted.is_err(), "accepted under TLS");

    let node = quic_transport(&ours.0, &ours.1);
    let stranger = quic_transport(&theirs.0, &theirs.1);
    stranger.try_send_to(b"let me in", node.local_addr()).expect("it may wait");
    assert!(stranger.connect(node.local_addr()).await.is_err(), "connected over QUIC");
    assert!(timeout(Duration::from_secs(1), node.readable()).await.is_err(), "a datagram came");
}

/// A node that comes back on its address is reached, though its peers hold a connection to what
/// was there before.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_peer_is_reached_over_quic() {
    let (client, server) = Authority::new().configs();
    let (a, b) = (quic_transport(&client, &server), quic_transport(&client, &server));
    a.try_send_to(b"before", b.local_addr()).expect("it may wait");
    assert_eq!(received(&b).await, b"before");
    let addr = b.local_addr();
    drop(b);
    // The socket is freed once the endpoint's own task has ended.
    let b = eventually_async("the address is free again", || async {
        QuicTransport::bind(addr, NAME, client.clone(), server.clone()).ok()
    })
    .await;
    let sending = async {
        loop {
            let _ = a.try_send_to(b"after", addr);
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        data = received(&b) => assert_eq!(data, b"after"),
        () = sending => unreachable!(),
    }
}

/// Two transports of a kind, the bare bytes.
async fn carries_everything<T: Transport, F: Future<Output = T>>(make: impl Fn() -> F) {
    let (a, b) = (make().await, make().await);
    for size in [1, 1_400, 20_000] {
        let datagram: Vec<u8> = (0..size).map(|n: u32| n as u8).collect();
        for (from, to) in [(&a, &b), (&b, &a)] {
            from.try_send_to(&datagram, to.local_addr()).expect("room to wait");
            assert_eq!(received(to).await, datagram, "{size} bytes");
        }
    }
    assert!(a.try_recv_from(&mut [0; 8]).is_err(), "a datagram that nobody sent");

    // As a sync goes: the request whole, the reply whole, and the end of both.
    let request: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let dialler = async {
        let mut stream = a.connect(b.local_addr()).await.expect("a connection");
        stream.write_all(&request).await.expect("written");
        stream.flush().await.expect("flushed");
        let mut reply = vec![0; request.len()];
        stream.read_exact(&mut reply).await.expect("a reply");
        stream.shutdown().await.expect("closed");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("the end"), 0);
        reply
    };
    let acceptor = async {
        let (mut stream, from) = b.accept().await.expect("a connection");
        assert_eq!(from.ip(), a.local_addr().ip());
        let mut heard = vec![0; request.len()];
        stream.read_exact(&mut heard).await.expect("a request");
        let mut reply = heard.clone();
        reply.reverse();
        stream.write_all(&reply).await.expect("written");
        stream.flush().await.expect("flushed");
        stream.shutdown().await.expect("closed");
        // Until the peer has taken it all.
        let _ = stream.read(&mut [0; 8]).await;
        heard
    };
    let both = async { tokio::join!(dialler, acceptor) };
    let (mut reply, heard) = timeout(PATIENCE, both).await.expect("in time");
    reply.reverse();
    assert!(heard == request && reply == request, "bytes were changed");

    // A port that is taken but does not listen: one that was freed could be somebody else's by now.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody.bind(any()).expect("a port");
    let gone = nobody.local_addr().expect("a port");
    let refused = timeout(PATIENCE, a.connect(gone)).await.expect("an end");
    assert!(refused.is_err(), "connected to nobody");
}

async fn received<T: Transport>(transport: &T) -> Vec<u8> {
    let mut buf = vec![0; 65_536];
    let receiving = async {
        loop {
            transport.readable().await.expect("an open socket");
            if let Ok((len, _)) = transport.try_recv_from(&mut buf) {
                break len;
            }
        }
    };
    let len = timeout(PATIENCE, receiving).await.expect("a datagram");
    buf.truncate(len);
    buf
}

/// Three nodes: joins, an event, a query with answers, a death and a leave.
async fn forms_a_cluster<T: Transport, F: Future<Output = T>>(make: impl Fn() -> F) {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let builder = Serf::builder(Config::local(name)).bind(any());
        nodes.push(builder.start_on(make().await).await.expect("a node"));
    }
    let [a, b, c] = <[Serf; 3]>::try_from(nodes).expect("three");
    let seed = [a.addresses().advertised.to_string()];
    for node in [&b, &c] {
        assert_eq!(node.join(&seed).await.expect("a join"), 1);
    }
    for node in [&a, &b, &c] {
        sees(
            node,
            &[("a", MemberStatus::Alive), ("b", MemberStatus::Alive), ("c", MemberStatus::Alive)],
        )
        .await;
    }

    let mut events = c.subscribe(Subscribe::default());
    b.user_event("deploy", "1.2.3").await.expect("sent");
    let event = async {
        while let Some(event) = events.recv().await {
            if let Event::User(event) = event {
                return event;
            }
        }
        unreachable!("the node runs")
    };
    assert_eq!(timeout(PATIENCE, event).await.expect("an event").payload.as_ref(), b"1.2.3");

    let params = QueryParams::default().request_ack(true).timeout(Duration::from_secs(3));
    let answering = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Query(query) = event {
                query.respond(vec![7; 900]).await.expect("an answer");
                return c;
            }
        }
        unreachable!("the node runs")
    });
    let mut query = a.query("load", "", params).await.expect("asked");
    let mut acks = BTreeSet::new();
    let mut answers = Vec::new();
    while let Some(update) = query.recv().await {
        match update {
            QueryUpdate::Ack { from } => drop(acks.insert(from.to_string())),
            QueryUpdate::Response { from, payload } => answers.push((from.to_string(), payload)),
            QueryUpdate::Finished { missing } => assert!(missing.is_empty(), "{missing:?}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acks, ["a", "b", "c"].map(str::to_owned).into());
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].0.as_str(), answers[0].1.as_ref()), ("c", &[7; 900][..]));

    let c = answering.await.expect("no panic");
    c.shutdown().await;
    drop(c);
    sees(
        &a,
        &[("a", MemberStatus::Alive), ("b", MemberStatus::Alive), ("c", MemberStatus::Failed)],
    )
    .await;
    b.leave().await.expect("left");
    b.shutdown().await;
    sees(&a, &[("a", MemberStatus::Alive), ("b", MemberStatus::Left), ("c", MemberStatus::Failed)])
        .await;
    a.shutdown().await;
}

async fn sees(node: &Serf, wanted: &[(&str, MemberStatus)]) {
    let what = format!("{} sees {wanted:?}", node.name());
    eventually_async(&what, || async {
        let members = node.members().await;
        let mut seen: Vec<_> = members.iter().map(|m| (&*m.name, m.status)).collect();
        seen.sort_by_key(|(name, _)| *name);
        if seen == wanted { Vec::new() } else { vec![format!("{seen:?}")] }
    })
    .await;
}

/// Who vouches for the nodes of one cluster.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a certificate").der().clone();
        Self { issuer: rcgen::Issuer::new(params, key), root }
    }

    /// For both ends of a node; each shows a certificate.
    fn configs(&self) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let chain = vec![params.signed_by(&key, &self.issuer).expect("signed").der().clone()];
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key())
            .expect("a client");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.expect("a verifier"))
            .with_single_cert(chain, key())
            .expect("a server");
        (Arc::new(client), Arc::new(server))
    }
}

fn tls_transport(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> TlsTransport {
    let name = NAME.try_into().expect("a name");
    TlsTransport::bind(any(), name, Arc::clone(client), Arc::clone(server)).expect("a port")
}

fn quic_transport(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> QuicTransport {
    QuicTransport::bind(any(), NAME, Arc::clone(client), Arc::clone(server)).expect("a port")
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// In every certificate.
const NAME: &str = "node.serf";
/// For what takes milliseconds, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);
