//! Waiting with a bound. A test that waits for ever hides what it waits for.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything may take. Generous, because test machines are slow: a failure without
/// witnesses is suspected for 24 s, on a loaded machine after a long probe.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a build or a download may take.
pub const BUILD: Duration = Duration::from_secs(1800);

/// What [`eventually`] asks for: good, or wrong in some way.
pub trait Answer {
    /// What a good answer holds.
    type Good;

    /// # Errors
    /// What is wrong, for the message.
    fn good(self) -> Result<Self::Good, String>;
}

impl Answer for bool {
    type Good = ();

    fn good(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(String::new)
    }
}

impl<T> Answer for Option<T> {
    type Good = T;

    fn good(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

/// What is still wrong; nothing is good.
impl Answer for Vec<String> {
    type Good = ();

    fn good(self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(self.join("\n")) }
    }
}

/// Asks until the answer is good, and gives what it holds.
///
/// # Panics
/// When it is not in [`PATIENCE`].
#[track_caller]
pub fn eventually<A: Answer>(what: &str, ask: impl FnMut() -> A) -> A::Good {
    eventually_within(what, PATIENCE, ask)
}

/// As [`eventually`], with another patience.
///
/// # Panics
/// When the answer is not good then.
#[track_caller]
pub fn eventually_within<A: Answer>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> A,
) -> A::Good {
    let mut wrong = String::new();
    let answer = poll(patience, || match ask().good() {
        Ok(good) => Some(good),
        Err(why) => {
            wrong = why;
            None
        }
    });
    let Some(good) = answer else { panic!("not in {patience:?}: {what}\n{wrong}") };
    good
}

/// Asks until there is an answer or the time is over.
pub fn poll<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        thread::sleep(STEP);
    }
}

/// As [`eventually`], for what is asked with `await`.
///
/// # Panics
/// When the answer is not good in [`PATIENCE`].
pub async fn eventually_async<A: Answer, F: Future<Output = A>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> A::Good {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await.good() {
            Ok(good) => return good,
            Err(wrong) => {
                assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}\n{wrong}");
            }
        }
        tokio::time::sleep(STEP).await;
    }
}

/// As [`poll`], for what is asked with `await`.
pub async fn poll_async<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    mut ask: impl FnMut() -> F,
) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask().await;
        if answer.is_some() || Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(STEP).await;
    }
}

const STEP: Duration = Duration::from_millis(30);
