//! Waits with a time limit, because a test that hangs does not show the cause.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Default time limit. Generous, because test machines are slow: a failure without witnesses is
/// suspected for 24 s, on a loaded machine after a long probe.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Time limit of a build or a download.
pub const BUILD: Duration = Duration::from_secs(1800);

/// Results that [`eventually`] waits for.
pub trait Answer {
    /// Contents of a good result.
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

/// The list of what is still wrong; an empty one is good.
impl Answer for Vec<String> {
    type Good = ();

    fn good(self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(self.join("\n")) }
    }
}

/// Calls `ask` until the result is good, and returns its contents.
///
/// # Panics
/// When there is no good result within [`PATIENCE`].
#[track_caller]
pub fn eventually<A: Answer>(what: &str, ask: impl FnMut() -> A) -> A::Good {
    eventually_within(what, PATIENCE, ask)
}

/// Like [`eventually`], with another time limit.
///
/// # Panics
/// When there is no good result within the limit.
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

/// Calls `ask` until it returns a value or the time is over.
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

/// Like [`eventually`], for asynchronous functions.
///
/// # Panics
/// When there is no good result within [`PATIENCE`].
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

/// Like [`poll`], for asynchronous functions.
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
