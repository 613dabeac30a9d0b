//! The steps of a rotation. Each operation can be repeated, so that a rotation continues wherever
//! it was interrupted. Before the cluster encrypts with the new key, and before each removal, all
//! members have confirmed that they have it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    super::Failure,
    cluster::{Answer, Cluster, Members, Op},
    report::Report,
    saved::{Saved, Step},
};

/// How long a rotation waits, and for which members.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// Time by which all members must have performed the steps.
    pub(super) deadline: Instant,
    /// Pause between attempts, doubled up to [`PAUSE_MAX`].
    pub(super) pause: Duration,
    /// Absent members that the rotation does not wait for.
    pub(super) without: BTreeSet<String>,
}

/// Why a rotation stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// An error of the agent or the state file.
    Failure(Failure),
    /// Some members did not perform a step in time; the rotation can be continued later.
    Incomplete(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// A running rotation.
pub(super) struct Rotation<'r, C, S> {
    pub(super) cluster: &'r C,
    pub(super) patience: &'r Patience,
    pub(super) report: &'r mut Report,
    /// Writes the state file.
    pub(super) save: S,
}

impl<C: Cluster, S: Fn(&Saved) -> Result<(), Failure>> Rotation<'_, C, S> {
    /// Performs the steps from the saved one to the end.
    pub(super) async fn run(&mut self, saved: &mut Saved) -> Result<(), Stop> {
        let new = saved.new_key.clone();
        if saved.step == Step::Install {
            self.report.say("Installing the new key on all members...");
            self.installed(new.expose()).await?;
            saved.step = Step::Use;
            (self.save)(saved)?;
        }
        if saved.step == Step::Use {
            self.report.say("Making the new key the primary one on all members...");
            self.used(new.expose()).await?;
            saved.step = Step::Remove;
            (self.save)(saved)?;
        }
        if saved.step == Step::Remove {
            self.report.say("Removing the old keys from all members...");
            for old in saved.old_keys.iter().filter(|old| **old != new) {
                self.removed(new.expose(), old.expose()).await?;
                self.report.removed += 1;
            }
            self.gone(saved).await?;
            saved.finish();
            (self.save)(saved)?;
        }
        Ok(())
    }

    /// Lists the keys until all live members have answered and, if `include_absent`, no member is
    /// absent.
    pub(super) async fn survey(&mut self, include_absent: bool) -> Result<Answer, Stop> {
        let mut pause = self.patience.pause;
        loop {
            let (members, answer) = self.listed().await?;
            if answer.complete && (!include_absent || self.absent(&members).is_empty()) {
                return Ok(answer);
            }
            let lacking = self.lacking(&members, &answer);
            self.wait(&mut pause, format!("Not everybody answers: {lacking}")).await?;
        }
    }

    /// Installs a key until all members have confirmed that they have it. Returns the live members.
    async fn installed(&mut self, new: &str) -> Result<BTreeSet<String>, Stop> {
        let mut pause = self.patience.pause;
        let mut asked = false;
        loop {
            let (members, answer) = self.listed().await?;
            let absent = self.absent(&members);
            if answer.all_have(new) {
                self.report.note(Step::Install, &members.live, &answer);
                if absent.is_empty() {
                    return Ok(members.live);
                }
            }
            let mut lacking = self.lacking(&members, &answer);
            if !answer.all_have(new) {
                let installed = self.cluster.ask(Op::Install(new)).await?;
                self.report.note(Step::Install, &members.live, &installed);
                // Accepted only once the list of keys confirms it.
                if installed.complete && !asked {
                    asked = true;
                    continue;
                }
                lacking = self.lacking(&members, &installed);
            }
            self.wait(&mut pause, format!("Not everybody has the new key: {lacking}")).await?;
            asked = false;
        }
    }

    /// Makes the new key, which all members have, the primary of all. Returns the live members.
    async fn used(&mut self, new: &str) -> Result<BTreeSet<String>, Stop> {
        let mut pause = self.patience.pause;
        loop {
            let live = self.installed(new).await?;
            let answer = self.cluster.ask(Op::Use(new)).await?;
            self.report.note(Step::Use, &live, &answer);
            let after = self.cluster.members().await?;
            self.report.seen(&after);
            if answer.complete && after.live.is_subset(&live) {
                return Ok(live);
            }
            let lacking = self.lacking(&after, &answer);
            self.wait(&mut pause, format!("Not everybody uses the new key: {lacking}")).await?;
        }
    }

    /// Removes an old key; before each attempt all members confirm that they have and use the new
    /// one.
    async fn removed(&mut self, new: &str, old: &str) -> Result<(), Stop> {
        let mut pause = self.patience.pause;
        loop {
            let live = self.used(new).await?;
            // Members that returned or joined since then are included.
            let (members, answer) = self.listed().await?;
            let lacking = if answer.all_have(new) && members.live.is_subset(&live) {
                let answer = self.cluster.ask(Op::Remove(old)).await?;
                self.report.note(Step::Remove, &live, &answer);
                if answer.complete {
                    return Ok(());
                }
                self.lacking(&members, &answer)
            } else {
                self.lacking(&members, &answer)
            };
            self.wait(&mut pause, format!("Not everybody removed the old key: {lacking}")).await?;
        }
    }

    /// Verifies that no member has an old key and all have the new one.
    async fn gone(&mut self, saved: &Saved) -> Result<(), Stop> {
        let mut pause = self.patience.pause;
        let new = saved.new_key.expose();
        loop {
            let (members, answer) = self.listed().await?;
            let old = saved.old_keys.iter().map(|old| old.expose());
            let left: Vec<_> =
                old.filter(|old| *old != new && answer.keys.contains_key(*old)).collect();
            if answer.all_have(new) && left.is_empty() {
                return Ok(());
            }
            let lacking = self.lacking(&members, &answer);
            self.wait(&mut pause, format!("An old key is still there: {lacking}")).await?;
            for old in left {
                self.removed(new, old).await?;
            }
        }
    }

    async fn listed(&mut self) -> Result<(Members, Answer), Stop> {
        let members = self.cluster.members().await?;
        self.report.seen(&members);
        let answer = self.cluster.ask(Op::List).await?;
        if let Some((node, why)) =
            answer.refused.iter().find(|(_, why)| why.contains(NO_ENCRYPTION))
        {
            let text = format!("Nothing to rotate: {node} does not encrypt ({why}).");
            return Err(Stop::Failure(Failure::Message(text)));
        }
        Ok((members, answer))
    }

    /// Absent members that the rotation waits for.
    fn absent(&self, members: &Members) -> Vec<String> {
        members.absent.difference(&self.patience.without).cloned().collect()
    }

    fn lacking(&self, members: &Members, answer: &Answer) -> String {
        let absent = self.absent(members).into_iter().map(|node| format!("{node}: failed"));
        let mut all: Vec<_> = absent.collect();
        all.extend(Some(answer.lacking()).filter(|lacking| !lacking.is_empty()));
        all.join("; ")
    }

    /// Waits before the next attempt.
    async fn wait(&mut self, pause: &mut Duration, why: String) -> Result<(), Stop> {
        let why = why.trim_end_matches([':', ' ']).to_owned();
        let left = self.patience.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stop::Incomplete(why));
        }
        self.report.say(&why);
        // The last attempt is at the deadline.
        tokio::time::sleep(left.min(*pause)).await;
        *pause = (*pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// Part of the answer of a member without keys, both Go's and ours.
const NO_ENCRYPTION: &str = "encryption not enabled";
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
