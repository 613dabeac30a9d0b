//! What the agent knows, asked for again and again, and no more often than it costs little.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::Sender, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    client::{Client, Error, EventRecord, EventStream},
    rpc::protocol::{self, Member},
    serf::Coordinate,
};

/// Something of the agent.
pub(super) enum News {
    Members(Vec<Member>),
    /// Figures of Serf such as queue depths, by Go's keys.
    Figures(BTreeMap<String, String>),
    Coordinates(Vec<(Arc<str>, Coordinate)>),
    Event(EventRecord),
    /// Events that were lost, for they came faster than they were read.
    Lost(u64),
}

/// Sends what the agent knows until it ends, or nobody wants it any more. Coordinates of the
/// members in `seen` are asked for each second, those of all others in turn.
pub(super) async fn run(
    client: Client,
    own: Arc<str>,
    seen: watch::Receiver<Vec<Arc<str>>>,
    to: Sender<News>,
) -> Result<(), Error> {
    let events = client.stream("*").await?;
    let poll = Poll { client, own, seen, to: to.clone(), names: Vec::new(), asked: 0 };
    tokio::try_join!(follow(events, to), poll.run()).map(drop)
}

async fn follow(mut events: EventStream, to: Sender<News>) -> Result<(), Error> {
    let mut lost = 0;
    while let Some(event) = events.recv().await? {
        let news = News::Event(event);
        if to.send(news).await.is_err() {
            return Ok(());
        }
        if events.lost() > lost {
            lost = events.lost();
            if to.send(News::Lost(lost)).await.is_err() {
                return Ok(());
            }
        }
    }
    Err(Error::Closed)
}

/// What is asked for each second.
struct Poll {
    client: Client,
    own: Arc<str>,
    seen: watch::Receiver<Vec<Arc<str>>>,
    to: Sender<News>,
    names: Vec<Arc<str>>,
    /// The one of the names whose turn is next.
    asked: usize,
}

impl Poll {
    async fn run(mut self) -> Result<(), Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_list = Instant::now();
        loop {
            ticks.tick().await;
            if Instant::now() >= next_list {
                let members = self.client.members().await?;
                let pause = if members.len() > MANY { LIST_OF_MANY } else { LIST };
                next_list = Instant::now() + pause;
                self.names = members.iter().map(|member| member.name.as_str().into()).collect();
                if self.to.send(News::Members(members)).await.is_err() {
                    return Ok(());
                }
            }
            let figures = self.client.stats().await?.remove("serf").unwrap_or_default();
            let news = [News::Figures(figures), News::Coordinates(self.coordinates().await?)];
            for news in news {
                if self.to.send(news).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Those of this second. The requests share the way to the agent and back.
    async fn coordinates(&mut self) -> Result<Vec<(Arc<str>, Coordinate)>, Error> {
        let mut wanted = vec![Arc::clone(&self.own)];
        wanted.extend(self.seen.borrow().iter().take(IN_TURN).cloned());
        let turn = IN_TURN.min(self.names.len());
        wanted.extend(self.names.iter().cycle().skip(self.asked).take(turn).cloned());
        self.asked = (self.asked + turn) % self.names.len().max(1);
        let mut asking = JoinSet::new();
        for name in wanted {
            let client = self.client.clone();
            asking.spawn(async move {
                let found = client.coordinate(&name).await?;
                Ok::<_, Error>(found.map(|found| (name, coordinate(found))))
            });
        }
        let mut all = Vec::new();
        while let Some(found) = asking.join_next().await {
            all.extend(found.map_err(|_| Error::Closed)??);
        }
        Ok(all)
    }
}

fn coordinate(found: protocol::Coordinate) -> Coordinate {
    let protocol::Coordinate { vec, error, adjustment, height } = found;
    Coordinate { vec: vec.unwrap_or_default(), error, adjustment, height }
}

/// How often figures and some coordinates are asked for.
const TICK: Duration = Duration::from_secs(1);
/// Members whose coordinates are asked for in a tick, beside those on the screen.
const IN_TURN: usize = 200;
/// How often the list is asked for; events say what changes in between.
const LIST: Duration = Duration::from_secs(5);
const LIST_OF_MANY: Duration = Duration::from_secs(30);
const MANY: usize = 1_000;
