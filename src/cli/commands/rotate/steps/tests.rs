use std::{cell::RefCell, collections::BTreeMap};

use super::*;

/// Members with keyrings as Serf's agents keep them: the first key encrypts.
#[derive(Default)]
struct Fake {
    nodes: RefCell<BTreeMap<&'static str, Node>>,
    /// Operations so far.
    asked: RefCell<Vec<String>>,
    /// Changes to make before the operation with this number.
    changes: RefCell<BTreeMap<usize, Change>>,
}

type Change = Box<dyn Fn(&mut BTreeMap<&'static str, Node>)>;

#[derive(Clone)]
struct Node {
    ring: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Failed,
    /// Alive, but does not answer.
    Silent,
    /// Answers with a refusal.
    Refuses,
}

impl Fake {
    fn new(names: [&'static str; 3]) -> Self {
        let node = Node { ring: vec!["old".to_owned()], state: State::Alive };
        let nodes = names.map(|name| (name, node.clone())).into();
        Self { nodes: RefCell::new(nodes), ..Self::default() }
    }

    fn set(&self, name: &'static str, state: State) {
        self.nodes.borrow_mut().get_mut(name).unwrap().state = state;
    }

    fn before(&self, ask: usize, change: impl Fn(&mut BTreeMap<&'static str, Node>) + 'static) {
        self.changes.borrow_mut().insert(ask, Box::new(change));
    }

    fn rings(&self) -> Vec<Vec<String>> {
        self.nodes.borrow().values().map(|node| node.ring.clone()).collect()
    }
}

impl Cluster for Fake {
    async fn members(&self) -> Result<Members, Failure> {
        let mut members = Members::default();
        for (name, node) in &*self.nodes.borrow() {
            match node.state {
                State::Failed => members.absent.insert((*name).to_owned()),
                _ => members.live.insert((*name).to_owned()),
            };
        }
        Ok(members)
    }

    async fn ask(&self, op: Op<'_>) -> Result<Answer, Failure> {
        let at = self.asked.borrow().len();
        let mut nodes = self.nodes.borrow_mut();
        if let Some(change) = self.changes.borrow_mut().remove(&at) {
            change(&mut nodes);
        }
        self.asked.borrow_mut().push(format!("{op:?}"));
        if let Op::Remove(_) = op {
            // The guarantee: whatever happened, no member that may return lacks the new key.
            assert!(nodes.values().all(|node| node.ring.contains(&"new".to_owned())));
        }
        if let Op::Use(new) = op {
            assert!(nodes.values().all(|node| node.ring.iter().any(|key| key == new)));
        }
        let mut answer = Answer::default();
        for (name, node) in nodes.iter_mut().filter(|(_, node)| node.state != State::Failed) {
            answer.asked += 1;
            match node.state {
                State::Silent => {
                    answer.silent.insert((*name).to_owned());
                    continue;
                }
                State::Refuses => {
                    answer.refused.insert((*name).to_owned(), "disk full".to_owned());
                    continue;
                }
                State::Alive | State::Failed => {}
            }
            match op {
                Op::List => {
                    for key in &node.ring {
                        *answer.keys.entry(key.clone()).or_default() += 1;
                    }
                }
                Op::Install(key) if node.ring.iter().any(|known| known == key) => {}
                Op::Install(key) => node.ring.push(key.to_owned()),
                Op::Use(key) => {
                    node.ring.retain(|known| known != key);
                    node.ring.insert(0, key.to_owned());
                }
                Op::Remove(key) => node.ring.retain(|known| known != key),
            }
        }
        answer.complete = answer.silent.is_empty() && answer.refused.is_empty();
        Ok(answer)
    }
}

async fn rotate(cluster: &Fake, saved: &mut Saved, without: &[&str]) -> Result<(), Stop> {
    let patience = Patience {
        deadline: Instant::now() + Duration::from_millis(40),
        pause: Duration::from_millis(1),
        without: without.iter().map(|name| (*name).to_owned()).collect(),
    };
    let (mut report, save) = (Report::default(), |_: &Saved| Ok(()));
    Rotation { cluster, patience: &patience, report: &mut report, save }.run(saved).await
}

fn plan() -> Saved {
    Saved::plan("new".into(), vec!["old".into()])
}

fn only_new(cluster: &Fake) -> bool {
    cluster.rings().iter().all(|ring| ring == &["new"])
}

#[tokio::test]
async fn a_healthy_cluster_gets_the_new_key_and_loses_the_old_one() {
    let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
    rotate(&cluster, &mut saved, &[]).await.unwrap();
    assert!(only_new(&cluster) && saved.step == Step::Done && saved.new_key.is_empty());
}

#[tokio::test]
async fn nothing_is_used_or_removed_while_somebody_lacks_the_new_key() {
    for state in [State::Failed, State::Silent, State::Refuses] {
        let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
        cluster.set("b", state);
        let stop = rotate(&cluster, &mut saved, &[]).await.unwrap_err();
        assert!(matches!(&stop, Stop::Incomplete(why) if why.contains("b: ")), "{stop:?}");
        assert_eq!(saved.step, Step::Install);
        assert!(cluster.rings().iter().all(|ring| ring[0] == "old"));
        // It returns, and the rotation continues.
        cluster.set("b", State::Alive);
        rotate(&cluster, &mut saved, &[]).await.unwrap();
        assert!(only_new(&cluster));
    }
}

#[tokio::test]
async fn a_member_without_the_key_that_shows_up_at_any_time_gets_it_before_the_removal() {
    let asks = {
        let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
        rotate(&cluster, &mut saved, &[]).await.unwrap();
        cluster.asked.borrow().clone()
    };
    // Not between the last list and the removal itself, which are one round of the cluster.
    let looks = asks.iter().enumerate().filter(|(_, ask)| *ask == "List");
    for (at, _) in looks {
        let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
        cluster.before(at, |nodes| {
            nodes.insert("d", Node { ring: vec!["old".to_owned()], state: State::Alive });
        });
        rotate(&cluster, &mut saved, &[]).await.unwrap();
        assert!(only_new(&cluster), "{at}: {:?}", cluster.rings());
    }
}

#[tokio::test]
async fn a_rotation_that_ends_after_any_operation_goes_on_from_what_was_saved() {
    for step in [Step::Install, Step::Use, Step::Remove] {
        for rings in [
            [vec!["old"], vec!["old"], vec!["old"]],
            [vec!["old", "new"], vec!["old"], vec!["old", "new"]],
            [vec!["new", "old"], vec!["old", "new"], vec!["old", "new"]],
            [vec!["new"], vec!["new", "old"], vec!["new", "old"]],
            [vec!["new"], vec!["new"], vec!["new"]],
        ] {
            let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
            for (node, ring) in cluster.nodes.borrow_mut().values_mut().zip(&rings) {
                node.ring = ring.iter().map(|key| (*key).to_owned()).collect();
            }
            saved.step = step;
            rotate(&cluster, &mut saved, &[]).await.unwrap();
            assert!(only_new(&cluster), "{step:?} {rings:?}: {:?}", cluster.rings());
        }
    }
}

/// Goal: members are waited for as long as the operator said, whatever pause comes next.
#[tokio::test]
async fn a_member_that_returns_just_before_the_deadline_is_not_missed() {
    let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
    cluster.set("b", State::Failed);
    let patience = Patience {
        deadline: Instant::now() + Duration::from_millis(300),
        pause: Duration::from_secs(3600),
        without: BTreeSet::new(),
    };
    let (mut report, save) = (Report::default(), |_: &Saved| Ok(()));
    let mut rotation =
        Rotation { cluster: &cluster, patience: &patience, report: &mut report, save };
    let returns = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.set("b", State::Alive);
    };
    let (done, ()) = tokio::join!(rotation.run(&mut saved), returns);
    done.unwrap();
    assert!(only_new(&cluster));
}

#[tokio::test]
async fn a_failed_member_that_is_named_is_not_waited_for() {
    let (cluster, mut saved) = (Fake::new(["a", "b", "c"]), plan());
    cluster.set("b", State::Failed);
    // It was given the key by hand.
    cluster.nodes.borrow_mut().get_mut("b").unwrap().ring = vec!["new".to_owned()];
    rotate(&cluster, &mut saved, &["b"]).await.unwrap();
    assert!(only_new(&cluster));
}
