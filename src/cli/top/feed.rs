//! Polls the agent for its members, statistics, coordinates and events.

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

/// News from the agent.
pub(super) enum News {
    Members(Vec<Member>),
    /// Serf's statistics, such as queue depths, by Go's keys.
    Figures(BTreeMap<String, String>),
    Coordinates(Vec<(Arc<str>, Coordinate)>),
    Event(EventRecord),
    /// Number of events lost because they arrived faster than they were read.
    Lost(u64),
}

/// Sends news until the agent ends or the receiver is dropped. Coordinates of the members in `seen`
/// are requested each second, those of all others in turn.
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

/// State of the requests made each second.
struct Poll {
    client: Client,
    own: Arc<str>,
    seen: watch::Receiver<Vec<Arc<str>>>,
    to: Sender<News>,
    names: Vec<Arc<str>>,
    /// Index of the name whose coordinate is requested next.
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

    /// Requests the coordinates for this second, all in one round trip.
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

/// Interval of requests for statistics and some of the coordinates.
const TICK: Duration = Duration::from_secs(1);
/// Coordinates requested in each interval, in addition to those on the screen.
const IN_TURN: usize = 200;
/// Interval of requests for all members; events report the changes in between.
const LIST: Duration = Duration::from_secs(5);
const LIST_OF_MANY: Duration = Duration::from_secs(30);
const MANY: usize = 1_000;
