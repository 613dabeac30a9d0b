//! Suggestions for mistyped names.

/// The name closest to the typed one, if the difference may be a typing error.
pub(super) fn nearest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // Short names are all similar to each other.
    let slips = (typed.chars().count() / 3).clamp(1, SLIPS_MAX);
    names
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, name)| name)
}

/// Number of letters to insert, delete, replace or swap (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let change = row[j] + usize::from(a[i] != b[j]);
            let mut least = change.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

const SLIPS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["event", "info", "join", "keys", "leave", "members", "monitor", "rtt"];
        let near = |typed| nearest(typed, names.into_iter());
        for (typed, meant) in [
            ("membres", "members"),
            ("member", "members"),
            ("Members", "members"),
            ("moniter", "monitor"),
            ("evnet", "event"),
            ("key", "keys"),
            ("jion", "join"),
        ] {
            assert_eq!(near(typed), Some(meant), "{typed}");
        }
        for typed in ["", "x", "bogus", "status", "remove"] {
            assert_eq!(near(typed), None, "{typed}");
        }
    }
}
