//! A node inside an HTTP service: the service knows its peers, sends them events and asks them
//! questions, shows the node's metrics beside its own, and leaves the cluster in good order when it
//! is stopped.
//!
//! Run two in two shells, the second with the gossip address that the first printed:
//!
//! ```text
//! cargo run -p example-service -- a
//! cargo run -p example-service -- b 127.0.0.1:PORT
//! curl http://127.0.0.1:PORT/members
//! curl -X POST -d v2 http://127.0.0.1:PORT/event/deploy
//! curl -X POST http://127.0.0.1:PORT/query/uptime
//! curl http://127.0.0.1:PORT/metrics
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use ruserf::{Config, Event, EventStream, QueryParams, QueryUpdate, Serf, SerfState};
use serde::Serialize;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("usage: example-service NAME [GOSSIP ADDRESS OF A PEER]...")?;
    let peers: Vec<String> = args.collect();

    // One recorder for the whole process: what the node counts goes where the service's counts go.
    let recorder = PrometheusBuilder::new().install_recorder()?;
    ruserf::describe_metrics();

    // Other nodes must reach `http`, so it travels as a tag, which every member sees.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let http = listener.local_addr()?;
    let config = Config::lan(name).tag("http", http.to_string());

    let builder = Serf::builder(config).bind("127.0.0.1:0");
    // Before the start, so that not even the first event is missed.
    let events = builder.events();
    let serf = builder.start().await?;
    println!("gossip on {}", serf.addresses().advertised);
    println!("http on {http}");
    let follower = tokio::spawn(follow(events));
    if !peers.is_empty() {
        let contacted = serf.join(&peers).await?;
        println!("joined through {contacted} of {} peers", peers.len());
    }

    // The handle is cheap to clone and needs no lock: it is axum's state as it is.
    let app = Router::new()
        .route("/health", get(health))
        .route("/members", get(members))
        .route("/event/{name}", post(send_event))
        .route("/query/{name}", post(ask))
        .with_state(serf.clone())
        .route("/metrics", get(scrape).with_state(recorder));
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;

    // Without `leave` the others would take us for failed and look for us for a day.
    serf.leave_and_shutdown().await?;
    // The events end with the node.
    follower.await?;
    println!("left the cluster");
    Ok(())
}

/// Prints what happens and answers queries, until the node stops.
async fn follow(mut events: EventStream) {
    let started = Instant::now();
    while let Some(event) = events.recv().await {
        match event {
            Event::Member(event) => {
                let names: Vec<_> = event.members.iter().map(|member| &*member.name).collect();
                println!("{}: {}", event.kind, names.join(", "));
            }
            Event::User(event) => {
                println!("event {}: {}", event.name, String::from_utf8_lossy(&event.payload));
            }
            Event::Query(query) if query.name() == "uptime" => {
                let answer = format!("{} s", started.elapsed().as_secs());
                if let Err(error) = query.respond(answer).await {
                    println!("query {} stays without an answer: {error}", query.name());
                }
            }
            // The cluster does not wait for us. Where every event counts, read the state anew.
            Event::Lagged(count) => println!("{count} events were lost"),
            // Other queries, and what later versions may add.
            _ => {}
        }
    }
}

/// Resolves when the program is asked to end.
async fn interrupted() {
    // Without the signal there is no other way to end: then now.
    let _ = tokio::signal::ctrl_c().await;
}

async fn health(State(serf): State<Serf>) -> (StatusCode, String) {
    let state = serf.state();
    let code = match state {
        SerfState::Alive => StatusCode::OK,
        SerfState::Leaving | SerfState::Left | SerfState::Shutdown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (code, format!("{state:?}\n"))
}

/// Text for Prometheus. The names are Go's, with `_` where they have a dot.
async fn scrape(State(recorder): State<PrometheusHandle>) -> String {
    metrics::counter!("service_scrapes_total").increment(1);
    // Samples that no scrape takes would pile up: the recorder sorts them in here.
    recorder.run_upkeep();
    recorder.render()
}

#[derive(Serialize)]
struct Row {
    name: String,
    status: String,
    http: Option<String>,
}

async fn members(State(serf): State<Serf>) -> Json<Vec<Row>> {
    let members = serf.members().await;
    let row = |member: &ruserf::Member| Row {
        name: member.name.to_string(),
        status: member.status.to_string(),
        http: member.tag("http").map(str::to_owned),
    };
    Json(members.iter().map(|member| row(member)).collect())
}

async fn send_event(
    State(serf): State<Serf>,
    Path(name): Path<String>,
    payload: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    // Each event is delivered, even if several with this name come at once.
    serf.user_event(&name, payload).await.map_err(refused)?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Default, Serialize)]
struct Answers {
    answers: BTreeMap<String, String>,
    /// Who was alive and has not said a word.
    missing: Vec<String>,
}

async fn ask(
    State(serf): State<Serf>,
    Path(name): Path<String>,
    payload: Bytes,
) -> Result<Json<Answers>, (StatusCode, String)> {
    let timeout = Duration::from_secs(2);
    let params = QueryParams::default().timeout(timeout).request_ack(true);
    let mut query = serf.query(&name, payload, params).await.map_err(refused)?;
    let mut all = Answers::default();
    while let Some(update) = query.recv().await {
        match update {
            QueryUpdate::Response { from, payload } => {
                let answer = String::from_utf8_lossy(&payload).into_owned();
                all.answers.insert(from.to_string(), answer);
            }
            QueryUpdate::Finished { missing } => {
                all.missing = missing.iter().map(|name| name.to_string()).collect();
            }
            _ => {}
        }
    }
    Ok(Json(all))
}

/// Errors say who is to blame, and so does HTTP.
fn refused(error: ruserf::Error) -> (StatusCode, String) {
    let code = match &error {
        ruserf::Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ruserf::Error::Shutdown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, format!("{error}\n"))
}
