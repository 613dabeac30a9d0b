//! Tag filters: Go's regular expressions against ours.

use ruserf::{
    base::Rng,
    serf::{Filter, MsgpackTransform, TransformDelegate},
    wire::Bin,
};
use serde_json::json;

use super::{
    excluded,
    pair::Pair,
    step::{asked, query},
};

/// Goal: an expression chooses the same nodes in both. Method: expressions are put together at
/// random from pieces that the two dialects treat differently, and matched against odd tags.
#[test]
fn random_expressions_match_the_same_tags() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    (0..SETS).for_each(run);
}

fn run(seed: u64) {
    let mut rng = Rng::from_u64(seed);
    let mut tags = serde_json::Map::new();
    for (number, value) in VALUES.iter().enumerate() {
        tags.insert(number.to_string(), json!(value));
    }
    let mut pair = Pair::start(json!({"tags": tags, "query_buffer": 4096}));
    pair.title = format!("SEED={seed}");
    for ltime in 1..=EXPRESSIONS {
        let mut expr = String::new();
        for _ in 0..=rng.below(5) {
            expr.push_str(PIECES[rng.below(PIECES.len())]);
        }
        if excluded::repeats_flags(&expr) {
            continue;
        }
        let tag = rng.below(VALUES.len()).to_string();
        let mut filter = Vec::new();
        let (tag, expr) = (tag.as_bytes(), expr.as_bytes());
        MsgpackTransform.encode_filter(&Filter::Tag { tag, expr }, &mut filter);
        let mut asked = asked(ltime, 1, "q");
        asked.filters = vec![Bin::from(&filter[..])];
        pair.step(&query(&asked));
    }
}

const VALUES: [&str; 14] = [
    "",
    "a",
    "ab",
    "aab",
    "A1_b",
    "a b",
    "ä\u{df}é",
    "a\nb",
    "a\n",
    "k\u{212a}K",
    "[a-z]&&x",
    "<a>",
    "12",
    "\u{b}\t",
];

const PIECES: [&str; 84] = [
    "a",
    "b",
    "A",
    "1",
    "_",
    " ",
    ".",
    "^",
    "$",
    "|",
    "(a)",
    "(a|b)",
    "(?:ab)",
    "(?P<n>a)",
    "(?<m>b)",
    "()",
    "(",
    ")",
    "*",
    "+",
    "?",
    "*?",
    "+?",
    "??",
    "{2}",
    "{1,2}",
    "{,2}",
    "{0,}",
    "{2,1}",
    "{1001}",
    "{",
    "}",
    "{a}",
    "[ab]",
    "[^a]",
    "[a-]",
    "[]a]",
    "[^]a]",
    "[a&&b]",
    "[a--b]",
    "[a~~b]",
    "[[a]]",
    "[[:alpha:]]",
    "[[:^digit:]]",
    "[\\d]",
    "[^\\w]",
    "[\\n]",
    "[\\pL]",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\b",
    "\\B",
    "\\A",
    "\\z",
    "\\Z",
    "\\n",
    "\\t",
    "\\v",
    "\\x41",
    "\\x{e4}",
    "\\101",
    "\\1",
    "\\pL",
    "\\PL",
    "\\p{Greek}",
    "\\Qa.b\\E",
    "\\Q",
    "\\E",
    "\\<",
    "\\>",
    "\\.",
    "\\_",
    "(?i)",
    "(?s)",
    "(?m)",
    "(?U)",
    "(?i:a)",
    "(?-i)",
    "(?x)",
    "ä",
];
const SETS: u64 = 3;
const EXPRESSIONS: u64 = 120;
