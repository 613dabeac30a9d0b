//! Accepts connections and answers requests.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{
    answer::{Body, JSON, answer, json, refusal, whole},
    events, health, members, metrics, page,
    paths::{OPEN_API, Path},
    query::Parameters,
    site::Site,
};
use crate::agent::{
    access::{Capability, Holder},
    ipc::{Accepted, Listener, Origin, Pass, Service, Share},
    tls::Identity,
};

/// Serves clients until it is dropped.
pub(in crate::agent) async fn serve(site: Arc<Site>, listener: Listener) {
    let admission = Arc::clone(&site.admission);
    listener.serve(&admission, Server { site }).await;
}

struct Server {
    site: Arc<Site>,
}

impl Service for Server {
    fn log_failure(&self, error: &str) {
        warn!(target: "agent.http", "Failed to accept client: {error}");
    }

    fn refuse(&mut self, _: &Accepted) {
        ::metrics::counter!("agent.http.refused").increment(1);
    }

    fn serve(
        &mut self,
        pass: Pass,
        client: Accepted,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        connection(Arc::clone(&self.site), pass, client)
    }
}

/// Kinds of responses, which have different time limits.
#[derive(Clone)]
enum Answer {
    /// A short response, or none yet.
    Short,
    /// A list, which reserves memory that other clients may wait for.
    List(Arc<Share>),
    /// Events, until the client disconnects.
    Stream,
}

struct Client {
    site: Arc<Site>,
    pass: Pass,
    origin: Origin,
    name: String,
    answer: watch::Sender<Answer>,
    /// The client's verified TLS certificate.
    certificate: Option<Identity>,
    /// What the client's rights follow from, once it has been checked.
    holder: watch::Sender<Option<Holder>>,
}

/// Serves one request and closes the connection, so that the duration of a connection is bounded.
async fn connection(site: Arc<Site>, mut pass: Pass, accepted: Accepted) {
    let secured = accepted.secured(site.agent.auth.http_tls.as_ref());
    let Some(Some(accepted)) = pass.unless_evicted(secured).await else { return };
    let Accepted { name, origin, certificate, input, output, .. } = accepted;
    let (answer, answering) = watch::channel(Answer::Short);
    let evicted = pass.evicted();
    let (holder, shown) = watch::channel(None);
    let agent = Arc::clone(&site.agent);
    let client = Client { site, pass, origin, name, answer, certificate, holder };
    let client = Arc::new(client);
    let service = service_fn(|request: Request<Incoming>| {
        let client = Arc::clone(&client);
        async move {
            let response = client.respond(&request).await;
            let status = response.status().as_u16().to_string();
            ::metrics::counter!("agent.http.requests", "status" => status).increment(1);
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tokio::io::join(input, output)), service);
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                debug!(target: "agent.http", "Client {}: {error}", client.name);
            }
        }
        () = overdue(answering) => {}
        () = made_room(evicted, &client) => {}
        () = agent.auth.revoked(shown) => {}
    }
}

/// Resolves when the time limit of the response has passed.
async fn overdue(answer: watch::Receiver<Answer>) {
    let mut wanted = answer.clone();
    let room_is_wanted = async {
        let is_list = |answer: &Answer| matches!(answer, Answer::List(_));
        let share = wanted.wait_for(is_list).await.ok().map(|answer| answer.clone());
        match share {
            Some(Answer::List(share)) => share.overdue().await,
            _ => std::future::pending().await,
        }
    };
    let late = async {
        tokio::time::sleep(ANSWER_TIME).await;
        if matches!(*answer.borrow(), Answer::Stream) {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = room_is_wanted => {}
        () = late => {}
    }
}

/// Resolves when the client is evicted to make room for others. Clients with a stream are not.
async fn made_room(evicted: impl Future<Output = ()>, client: &Client) {
    evicted.await;
    if matches!(*client.answer.borrow(), Answer::Stream) {
        std::future::pending().await
    }
}

impl Client {
    async fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if self.site.names_refused && !names_address(request) {
            return refusal(StatusCode::FORBIDDEN, "Host must be an address or localhost");
        }
        let Some(path) = Path::parse(request.uri().path()) else {
            return self.nothing(request).await;
        };
        if !path.is_open() && !self.is_authorized(request).await {
            return unauthorized();
        }
        let holder = self.holder.borrow().clone();
        if let Some(holder) = holder.filter(|holder| !holder.allows(Capability::Read)) {
            let reason = format!("{} lacks 'read'", holder.title());
            return refusal(StatusCode::FORBIDDEN, &reason);
        }
        let site = &self.site;
        let all = Parameters::parse(request.uri().query());
        match path {
            Path::Page => page::page(),
            Path::OpenApi => answer(StatusCode::OK, JSON, whole(OPEN_API)),
            Path::Live => health::live(&site.agent).await,
            Path::Ready => health::ready(&site.agent, &site.watch).await,
            Path::Metrics => metrics::metrics(site).await,
            Path::Agent => json(StatusCode::OK, &site.agent.stats().await),
            Path::Flaps => json(StatusCode::OK, &json!({ "members": site.flaps.list() })),
            Path::Members => self.list(members::members(site, all).await),
            Path::Member(name) => members::member(site, &name).await,
            Path::Coordinates => self.list(members::coordinates(site, all).await),
            Path::Targets => self.list(members::targets(site, all).await),
            Path::Events => {
                let response = events::begin(site, self.origin, all).await;
                if response.status() == StatusCode::OK {
                    self.answer.send_replace(Answer::Stream);
                    self.pass.known();
                }
                response
            }
        }
    }

    /// The response for an unknown path. Without authorization it is the same as for other paths,
    /// so that it does not reveal which paths exist.
    async fn nothing(&self, request: &Request<Incoming>) -> Response<Body> {
        if self.is_authorized(request).await {
            return refusal(StatusCode::NOT_FOUND, "no such path");
        }
        unauthorized()
    }

    fn list(&self, (response, share): members::Listed) -> Response<Body> {
        if let Some(share) = share {
            self.answer.send_replace(Answer::List(share));
        }
        response
    }

    /// Whether the request has a valid token or, without a token, the client's certificate has an
    /// entry; true if the agent requires neither.
    async fn is_authorized(&self, request: &Request<Incoming>) -> bool {
        let auth = &self.site.agent.auth;
        if !auth.is_required() {
            return true;
        }
        let Some(shown) = request.headers().get(AUTHORIZATION) else {
            let identity = self.certificate.as_ref();
            let holder = identity.and_then(|identity| auth.authenticate_certificate(identity));
            let is_known = holder.is_some();
            self.holder.send_replace(holder);
            return is_known;
        };
        if let Some(price) = self.pass.price(false, Instant::now()) {
            price.pay().await;
        }
        let shown = shown.as_bytes().split_at_checked(SCHEME.len());
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
        let holder = shown.and_then(|(_, shown)| auth.authenticate(shown));
        let is_right = holder.is_some();
        self.holder.send_replace(holder);
        if !is_right {
            let count = self.pass.wrong_token(Instant::now());
            // Logged at each doubling.
            if count.is_power_of_two() {
                let name = &self.name;
                warn!(target: "agent.http", "Wrong token of client: {name} ({count} times)");
            }
        }
        is_right
    }
}

fn unauthorized() -> Response<Body> {
    let mut response = refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Whether every host in the request, in its target and its `Host` headers, is an address or
/// `localhost`.
fn names_address<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let target = request.uri().authority();
    hosts.all(|host| host.to_str().is_ok_and(is_address))
        && target.is_none_or(|target| is_address(target.as_str()))
}

fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Prefix of the token in the header.
const SCHEME: &[u8] = b"Bearer ";
/// Time limit for reading the request.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Time limit of a connection, unless its response is a stream.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// Most bytes of a request's line and headers. Bodies are not read.
const HEADER_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_host_names_are_refused_by_a_local_listener() {
        for host in ["127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "LocalHost:1"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "", ":80"] {
            assert!(!is_address(host), "{host}");
        }
    }

    #[test]
    fn no_part_of_a_request_names_others() {
        let asks = |target: &str, hosts: &[&[u8]]| {
            let mut request = Request::builder().uri(target);
            for host in hosts {
                request = request.header(HOST, HeaderValue::from_bytes(host).unwrap());
            }
            names_address(&request.body(()).unwrap())
        };
        assert!(asks("/", &[]));
        assert!(asks("/", &[b"127.0.0.1:80"]));
        assert!(asks("http://127.0.0.1/", &[b"127.0.0.1"]));
        assert!(!asks("/", &[b"evil.example"]));
        assert!(!asks("/", &[b"127.0.0.1", b"evil.example"]));
        assert!(!asks("/", &[b"\xfe.example"]));
        assert!(!asks("http://evil.example/", &[b"127.0.0.1"]));
        assert!(!asks("http://127.0.0.1@evil.example/", &[]));
    }
}
