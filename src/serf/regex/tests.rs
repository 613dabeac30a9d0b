//! Compares with expressions accepted by Go's `regexp`, and limits their cost.

use std::time::Duration;

use super::{
    allowance::{WORK_MAX, WORK_PER_MICROSECOND},
    cache::{CACHE_BYTES_MAX, CACHE_MAX, EXPR_BYTES_MAX, size},
    translate::translate,
    *,
};
use crate::base::Instant;

fn is_match(expr: &str, text: &str) -> Option<bool> {
    Regex::compile(expr.as_bytes()).map(|regex| regex.is_match(text))
}

#[track_caller]
fn matches(expr: &str, text: &str) {
    assert_eq!(is_match(expr, text), Some(true), "{expr:?} on {text:?}");
}

#[track_caller]
fn differs(expr: &str, text: &str) {
    assert_eq!(is_match(expr, text), Some(false), "{expr:?} on {text:?}");
}

#[test]
fn expressions_are_unanchored() {
    matches("eb", "web-1");
    matches("", "");
    matches(".*", "");
    matches("^$", "");
    matches("^web", "web");
    differs("^web$", "web-1");
}

#[test]
fn perl_classes_are_ascii() {
    matches(r"^\d$", "7");
    differs(r"^\d$", "٣");
    differs(r"^\w$", "é");
    matches(r"^\W$", "é");
    differs(r"^\s$", "\u{b}");
    differs(r"^[\s]$", "\u{a0}");
    matches(r"^[\S]$", "\u{a0}");
    matches(r"^[^\d]$", "x");
    matches(r"\bé", "aé");
    matches(r"^\pL$", "é");
    matches(r"^\p{Greek}$", "β");
    differs(r"^\p{^Greek}$", "β");
    matches(r"^\PN$", "x");
}

#[test]
fn what_is_no_boundary_is_between_characters() {
    differs(r"\B", "k\u{212a}k");
    matches(r"\B", "\u{e4}a");
    matches(r"\B", "\u{e4}");
    matches(r"\B", "\u{e4}\u{e4}");
    matches(r"\B", "ab");
    matches(r"\B", "");
    differs(r"^\B", "a");
}

#[test]
fn case_folding_and_dot_are_unicode() {
    matches("(?i)^É$", "é");
    matches("^.$", "é");
    differs("^.$", "\n");
    matches("(?s)^.$", "\n");
}

#[test]
fn dollar_is_the_end_of_the_text() {
    differs("web$", "web\n");
    matches("(?m)web$", "web\n");
}

#[test]
fn quotes_octals_and_escapes_of_go_are_understood() {
    matches(r"^\Qa.b*\E+$", "a.b**");
    matches(r"^\Q.*", ".*");
    differs(r"^\Q.*", "xx");
    matches(r"^\101\x42\x{43}$", "ABC");
    matches(r"^\<\>\_\-$", "<>_-");
    differs(r"\<x", "x");
}

#[test]
fn set_syntax_is_literal() {
    matches("^[a&&b]+$", "a&b");
    matches("^[+--b]+$", "b+,-");
    matches("^[a~~b]+$", "~");
    matches("^[[]$", "[");
    matches("^[]a]$", "]");
    matches("^[^]a]$", "b");
    matches("^[[:alpha:]_]+$", "ab_");
    matches("^[[:^alpha:]]+$", "12");
    matches("^[a-]$", "-");
    matches("^[[a]]$", "[]");
}

#[test]
fn braces_that_count_nothing_are_literal() {
    matches("^a{,2}$", "a{,2}");
    matches("^a{x}$", "a{x}");
    matches("^a{01}$", "a{01}");
    matches("^{$", "{");
    matches("^a{2,3}?$", "aaa");
}

#[test]
fn what_go_refuses_does_not_compile() {
    for expr in [
        r"a(?=b)",
        r"(?<!a)b",
        r"(a)\1",
        r"\C",
        r"a\Z",
        r"\h",
        "x**",
        "x*+",
        "x{2}{3}",
        "x{1001}",
        "x{2,1}",
        "(?:x{100}){11}",
        "((x{10}){10}){11}",
        "[z-a]",
        "[a--b]",
        "[[:foo:]]",
        "(",
        ")",
        "a)",
        "[a",
        r"\",
        r"\p{Alphabetic}",
        r"\p{greek}",
        r"\pl",
        "(?x)a",
        "(?-)",
        "(?P<a>x)(?P<a>y)",
        "(?P<>x)",
        "*a",
        r"\xZ1",
        r"\x{110000}",
        r"[\Q]",
        r"[\b]",
        r"\8",
    ] {
        assert_eq!(is_match(expr, ""), None, "{expr:?}");
    }
}

#[test]
fn repeated_flags_and_giants_do_not_compile() {
    // Go accepts these.
    let long = "a".repeat(EXPR_BYTES_MAX + 1);
    let large = "(abcdefghij){1000}".to_owned();
    let deep = "(".repeat(200) + &")".repeat(200);
    for expr in ["a(?i)*", &long, &large, &deep] {
        assert_eq!(is_match(expr, "aaa"), None, "{:?}", expr.get(..20));
    }
    let longest = "a".repeat(EXPR_BYTES_MAX - 1);
    matches(&longest, &longest);
}

#[test]
fn what_go_takes_compiles() {
    for expr in [
        "x{1000}",
        "(?:x{10}){100}",
        "(?P<name>x)",
        "(?<name>x)",
        "(?P<1a>x)",
        "(?i-s:x)",
        "(?ii)x",
        "(?i)(?-i)x",
        "()",
        "(|a)",
        "a||b",
        "^*",
        "x*?",
        "x{0}",
        "(?U)x+",
        r"\a\f\n\r\t\v",
        r"[\x00-\x{10FFFF}]",
        r"\p{Any}",
        r"\pN\p{Nd}",
    ] {
        assert!(is_match(expr, "").is_some(), "{expr:?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert!(Regex::compile(b"\xff").is_none());
}

fn cost(cache: &mut RegexCache, expr: &str, text: &str) -> (Result<bool, Unusable>, u64) {
    let mut work = Allowance(WORK_MAX);
    let result = cache.is_match(expr.as_bytes(), text, &mut work);
    (result, WORK_MAX - work.0)
}

#[test]
fn cache_is_bounded_and_remembers_failures() {
    let mut cache = RegexCache::default();
    assert_eq!(cost(&mut cache, "(", "").0, Err(Unusable::Invalid));
    assert_eq!(cost(&mut cache, "(", ""), (Err(Unusable::Invalid), 0));
    for n in 0..10 * CACHE_MAX {
        assert_eq!(cost(&mut cache, &n.to_string(), "x").0, Ok(false));
    }
    assert_eq!(cache.compiled.len(), CACHE_MAX);
    assert_eq!(cache.order.len(), CACHE_MAX);
    for n in 0..100 {
        let expr = format!("{n}{}", "x".repeat(7_000));
        assert_eq!(cost(&mut cache, &expr, "").0, Ok(false));
        assert!(cache.bytes <= CACHE_BYTES_MAX);
    }
    let bytes = cache.compiled.iter().map(|(expr, compiled)| size(expr, compiled));
    assert_eq!(cache.bytes, bytes.sum::<usize>());
}

#[test]
fn ordinary_expressions_cost_microseconds_and_less_once_known() {
    for expr in ["^web-[0-9]+$", "(db|cache)", "v1\\.2\\..*", "(?i)^eu-(west|east)-\\d$", "\\pL+"] {
        let cache = &mut RegexCache::default();
        let (first, then) = (cost(cache, expr, "web-17").1, cost(cache, expr, "web-17").1);
        assert!(first < WORK_MAX / 20 && then < first / 5, "{expr}: {first}, {then}");
    }
}

/// Goal: no expression costs more than its allowance. Method: the most expensive known for
/// parser, compiler and matcher; each is refused before the work is done, and what was done
/// is charged.
#[test]
fn expensive_expressions_exhaust_their_allowance() {
    let text = "a".repeat(500);
    let anything = r"(?i)[\x00-\x{10FFFF}]".to_owned();
    let folded = r"(?i)".to_owned() + &r"\pL".repeat(80);
    let wide = "(?i)".to_owned() + &"a|".repeat(4_000);
    let paths = "(a?){500}(a*){100}x".to_owned();
    for expr in [anything, folded, wide, paths] {
        let cache = &mut RegexCache::default();
        for _ in 0..3 {
            let (result, cost) = cost(cache, &expr, &text);
            assert_eq!(result, Err(Unusable::OverBudget), "{:?}", expr.get(..20));
            assert!(cost <= WORK_MAX);
        }
    }
}

#[test]
fn the_bucket_fills_with_time_and_not_above_its_rim() {
    let mut bucket = WorkBucket::new(Instant::ZERO);
    assert_eq!(bucket.at(Instant::ZERO).charge(WORK_MAX), Ok(()));
    assert_eq!(bucket.at(Instant::ZERO).charge(1), Err(Unusable::OverBudget));
    let later = Instant::ZERO + Duration::from_millis(1);
    assert_eq!(bucket.at(later), &Allowance(1_000 * WORK_PER_MICROSECOND));
    assert_eq!(bucket.at(later + Duration::from_secs(3_600)), &Allowance(WORK_MAX));
    assert_eq!(bucket.at(Instant::ZERO), &Allowance(WORK_MAX));
}

#[test]
fn negated_classes_ignore_case_as_go_does() {
    matches(r"(?i)^[\W_]$", "-");
    matches(r"(?i)^[\W_]$", "_");
    differs(r"(?i)^[\Wa]$", "b");
    matches(r"(?i)^[\Wa]$", "A");
    differs(r"(?i)^[^a-c]$", "B");
    matches(r"(?i)^[^[:alpha:]]$", "1");
    matches(r"(?i)^[k-l]$", "\u{212a}");
    matches(r"(?i)^.$", "x");
    differs(r"(?i)^.$", "\n");
    matches(r"(?is)^.$", "\n");
}

/// The result of the crate `regex` for an expression in its own dialect.
fn by_the_crate(expr: &str, text: &str) -> Option<bool> {
    let translated = translate(expr, &mut Allowance(u64::MAX)).ok()?;
    let regex = ::regex::bytes::RegexBuilder::new(&translated).size_limit(1 << 20).build().ok()?;
    // It finds boundaries inside characters, which ours and Go's do not.
    let inside = |at: usize| !text.is_char_boundary(at);
    let found = regex.find(text.as_bytes());
    found
        .is_none_or(|found| !inside(found.start()) && !inside(found.end()))
        .then(|| found.is_some())
}

proptest::proptest! {
    #[test]
    fn any_expression_compiles_or_not_without_panic(expr in "\\PC{0,40}") {
        let _ = Regex::compile(expr.as_bytes());
    }

    #[test]
    fn the_crate_regex_agrees(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..12),
        text in "[a-cKké\u{212a} \n-]{0,12}",
    ) {
        let expr = pieces.concat();
        if let Some(expected) = by_the_crate(&expr, &text) {
            let ours = is_match(&expr, &text);
            proptest::prop_assert_eq!(ours, Some(expected), "{} {:?}", expr, text);
        }
    }

    #[test]
    fn quoted_text_matches_itself(text in "[^\\\\]{0,20}") {
        let expr = format!("^\\Q{text}\\E$");
        proptest::prop_assert_eq!(is_match(&expr, &text), Some(true));
    }
}

const PIECES: &[&str] = &[
    "(", ")", "|", "*", "+", "+?", "?", "{1,3}", "{2}", "(?i)", "(?m)", "(?s)", "^", "$", r"\b",
    r"\B", r"\w", r"[\Wa]", "[a-c]", "[^b]", r"\pL", "a", "b", "K", "é", ".", " ", r"\A", r"\z",
];
