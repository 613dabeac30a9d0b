//! Rate limit for log lines that peers can cause.

use std::time::Duration;

use super::Instant;

/// Limits the log lines of one cause: a burst of five, then four a second. Suppressed lines are
/// counted and the count is logged at most once a second, so that no second has more than ten
/// lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimit {
    /// What the lines are about.
    pub(crate) about: &'static str,
    /// When the full burst of five lines is available again.
    whole_at: Instant,
    suppressed: u64,
    reported: Instant,
}

impl LogLimit {
    pub(crate) const fn new(about: &'static str) -> Self {
        Self { about, whole_at: Instant::ZERO, suppressed: 0, reported: Instant::ZERO }
    }

    /// Returns whether a line may be logged; if not, it is counted as suppressed.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let whole_at = self.whole_at.max(now) + LINE_COST;
        let admitted = whole_at - now <= LINE_COST * LINES_AT_ONCE;
        if admitted {
            self.whole_at = whole_at;
        } else {
            self.suppressed += 1;
        }
        admitted
    }

    /// Number of suppressed lines since the last report, at most once a second.
    pub(crate) fn take_suppressed(&mut self, now: Instant) -> Option<u64> {
        if self.suppressed == 0 || now - self.reported < REPORT_PERIOD {
            return None;
        }
        self.reported = now;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Declares a struct with a [`LogLimit`] for each cause, and a `details` limit for debug lines,
/// whose suppressed lines are not reported.
macro_rules! log_limits {
    ($(#[$about:meta])* $vis:vis struct $name:ident for $target:literal {
        $($(#[$doc:meta])* $cause:ident: $text:literal;)+
    }) => {
        $(#[$about])*
        #[derive(Debug)]
        $vis struct $name {
            $($(#[$doc])* $vis $cause: $crate::base::LogLimit,)+
            /// Debug lines; the number of suppressed ones is not reported.
            $vis details: $crate::base::LogLimit,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($cause: $crate::base::LogLimit::new($text),)+
                    details: $crate::base::LogLimit::new("details"),
                }
            }
        }

        impl $name {
            /// Logs the number of suppressed lines, at most one line a second for each cause.
            $vis fn report(&mut self, now: $crate::base::Instant) {
                for limit in [$(&mut self.$cause),+] {
                    if let Some(count) = limit.take_suppressed(now) {
                        let about = limit.about;
                        tracing::warn!(
                            target: $target,
                            "suppressed {count} more log lines about {about}"
                        );
                    }
                }
            }
        }
    };
}

pub(crate) use log_limits;

const LINES_AT_ONCE: u32 = 5;
const LINE_COST: Duration = Duration::from_millis(250);
const REPORT_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_ten_lines_and_none_is_lost_uncounted() {
        // Goal: a thousand causes a second for ten seconds, then silence.
        let mut limit = LogLimit::new("tests");
        let (mut lines, mut at, mut suppressed) = (0, Vec::new(), 0);
        for ms in 0..12_000_u64 {
            let now = Instant::from_nanos(5_000_000_000 + ms * 1_000_000);
            if ms < 10_000 && limit.admit(now) {
                lines += 1;
                at.push(ms);
            }
            if let Some(count) = limit.take_suppressed(now) {
                suppressed += count;
                at.push(ms);
            }
        }
        for start in &at {
            let within = at.iter().filter(|ms| (*start..start + 1000).contains(*ms)).count();
            assert!(within <= 10, "{within} lines in the second from {start} ms");
        }
        assert_eq!(lines + suppressed, 10_000);
        assert!((44..=46).contains(&lines), "{lines}");
    }
}
