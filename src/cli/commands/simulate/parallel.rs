//! Runs jobs on threads and shows their progress.

use std::{
    io::{IsTerminal as _, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

/// Runs jobs on threads; returns results in the order of the jobs. `progress` is called with the
/// number of finished jobs.
pub(super) fn in_parallel<T: Sync, R: Send>(
    jobs: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<R> {
    let next = Mutex::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let place = {
                        let mut next = lock(&next);
                        let place = *next;
                        *next += 1;
                        place
                    };
                    let Some(job) = jobs.get(place) else { return };
                    let result = work(job);
                    let mut results = lock(&results);
                    results.push((place, result));
                    progress(results.len());
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the current line of a terminal; a file gets none.
pub(super) fn progress_line(err: &mut dyn Write, text: &str) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let _ = write!(err, "\r{text:<70}");
    let _ = err.flush();
}
