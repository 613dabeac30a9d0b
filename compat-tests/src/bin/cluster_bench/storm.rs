//! All agents of a cluster join one of them at once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use compat_tests::net::Net;
use ruserf::{
    client::{Client, EventRecord, QueryEvent},
    rpc::protocol::{MemberEventRecord, Query},
    serf::{OldEvents, QueryParams, UserEventSpec},
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{
    agent::{Agent, Heard, listen, next},
    percentile, report,
};

/// Prints when the first and the last agent listed all others, what all agents spent for it, and
/// the times of an event, a query and a crash afterwards.
pub(super) async fn measure(program: &str, count: usize) {
    assert!((2..=250).contains(&count), "2 to 250 agents");
    let net = Net::new();
    let start = |index: usize| {
        let ip = net.ip(u8::try_from(index + 1).expect("below 254"));
        let (bind, rpc) = (format!("{ip}:7946"), format!("{ip}:7373"));
        Agent::start(program, &[], &format!("n{index:03}"), &bind, &rpc, &[])
    };
    let mut agents: Vec<_> = (0..count).map(start).collect();
    let mut clients = Vec::new();
    for agent in &agents {
        clients.push(agent.client().await);
    }
    let (to, mut heard) = mpsc::unbounded_channel();
    for (index, client) in clients.iter().enumerate() {
        listen(index, client, "member-join,member-failed,user", to.clone()).await;
    }
    sleep(SETTLE).await;

    joins(&agents, &clients, &net.ip(1), &mut heard).await;
    sleep(SETTLE).await;
    let (_, resident): (Vec<_>, Vec<_>) = agents.iter().map(Agent::cost).unzip();
    report("storm_rss_mib_each", percentile(&mut resident.clone(), 50));
    event(&clients, &mut heard).await;
    query(&clients).await;
    crash(&mut agents, &mut heard).await;
}

async fn joins(
    agents: &[Agent],
    clients: &[Client],
    seed: &str,
    heard: &mut mpsc::UnboundedReceiver<Heard>,
) {
    let spent = || agents.iter().map(|agent| agent.cost().0).sum::<f64>();
    let before = spent();
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for client in &clients[1..] {
        let (client, seed) = (client.clone(), format!("{seed}:7946"));
        calls.spawn(async move { client.join([seed], OldEvents::Ignore).await });
    }
    let (mut known, mut failed) = (vec![BTreeSet::new(); agents.len()], 0);
    let mut times = vec![None; agents.len()];
    let mut asked = began;
    while times.contains(&None) && began.elapsed() < PATIENCE {
        // An event may be missed: those that lack some are asked now and then.
        if asked.elapsed() > ASK {
            let late = times.iter_mut().zip(clients).filter(|(time, _)| time.is_none());
            for (time, client) in late {
                if knows(client, agents.len()).await {
                    *time = Some(began.elapsed().as_secs_f64());
                }
            }
            asked = Instant::now();
        }
        let Some(Heard { by, at, event }) = next(heard, Instant::now() + ASK).await else {
            continue;
        };
        let EventRecord::Member(MemberEventRecord { event, members }) = event else { continue };
        if event == "member-failed" {
            failed += members.len();
            continue;
        }
        let names = members.into_iter().map(|member| member.name);
        known[by].extend(names.filter(|name| *name != agents[by].name));
        if known[by].len() + 1 == agents.len() {
            times[by].get_or_insert((at - began).as_secs_f64());
        }
    }
    let mut times: Vec<_> = times.into_iter().flatten().collect();
    let mut errors = 0;
    while let Some(call) = calls.join_next().await {
        errors += usize::from(!matches!(call, Ok(Ok(1))));
    }
    report("storm_agents", agents.len() as f64);
    report("storm_failed_joins", errors as f64);
    report("storm_false_failures", failed as f64);
    report("storm_complete", times.len() as f64);
    report("storm_half_know_all_s", percentile(&mut times, 50));
    report("storm_99_percent_know_all_s", percentile(&mut times, 99));
    report("storm_all_know_all_s", percentile(&mut times, 100));
    report("storm_cpu_s", spent() - before);
}

/// Whether an agent considers all members alive.
async fn knows(client: &Client, all: usize) -> bool {
    let Ok(stats) = client.stats().await else { return false };
    let figure = |name: &str| stats.get("serf")?.get(name)?.parse::<usize>().ok();
    figure("members") == Some(all) && figure("failed") == Some(0) && figure("left") == Some(0)
}

async fn event(clients: &[Client], heard: &mut mpsc::UnboundedReceiver<Heard>) {
    let began = Instant::now();
    let event = UserEventSpec::new("storm", &b"passed"[..]);
    clients[1].user_event(&event).await.expect("the event is accepted");
    let mut times = Vec::new();
    while times.len() < clients.len() {
        let Some(Heard { at, event, .. }) = next(heard, began + PATIENCE).await else { break };
        if matches!(event, EventRecord::User(_)) {
            times.push((at - began).as_secs_f64());
        }
    }
    report("event_heard_by", times.len() as f64);
    report("event_half_s", percentile(&mut times, 50));
    report("event_all_s", percentile(&mut times, 100));
}

/// Only acks: agents without a handler do not answer.
async fn query(clients: &[Client]) {
    let began = Instant::now();
    let query = Query::new("storm", "", &QueryParams::default().request_ack(true));
    let mut answers = clients[1].query(query).await.expect("the query is accepted");
    let mut times = Vec::new();
    while let Ok(Some(answer)) = answers.recv().await {
        if matches!(answer, QueryEvent::Ack(_)) {
            times.push(began.elapsed().as_secs_f64());
        }
    }
    report("query_acks", times.len() as f64);
    report("query_half_s", percentile(&mut times, 50));
    report("query_last_s", percentile(&mut times, 100));
}

async fn crash(agents: &mut [Agent], heard: &mut mpsc::UnboundedReceiver<Heard>) {
    let last = agents.len() - 1;
    let name = agents[last].name.clone();
    let began = Instant::now();
    agents[last].kill();
    let mut times = Vec::new();
    while times.len() < last {
        let Some(Heard { at, event, .. }) = next(heard, began + PATIENCE).await else { break };
        let EventRecord::Member(MemberEventRecord { event, members }) = event else { continue };
        let gone = members.iter().any(|member| member.name == name);
        if event == "member-failed" && gone {
            times.push((at - began).as_secs_f64());
        }
    }
    report("crash_known_by", times.len() as f64);
    report("crash_first_s", percentile(&mut times, 1));
    report("crash_all_s", percentile(&mut times, 100));
}

/// How often agents are asked.
const ASK: Duration = Duration::from_secs(1);
/// Pause between the steps.
const SETTLE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
