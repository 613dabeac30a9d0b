//! Go's regular expressions (RE2 syntax) on top of the `regex` crate.
//!
//! The two differ where they look alike: perl classes are ASCII in Go, set operations and nested
//! classes do not exist there, `\Q..\E` and octal escapes do. So the expression is rewritten
//! piece by piece; what Go refuses is refused.

use std::collections::{BTreeMap, VecDeque};

use regex::bytes::{Regex, RegexBuilder};

/// Compiled expressions of recent queries.
#[derive(Default)]
pub(crate) struct RegexCache {
    /// `None`: does not compile.
    compiled: BTreeMap<Vec<u8>, Option<Regex>>,
    /// Oldest first.
    order: VecDeque<Vec<u8>>,
}

impl RegexCache {
    /// The expression compiled; `None` if Go would not compile it.
    pub(crate) fn compile(&mut self, expr: &[u8]) -> Option<&Regex> {
        if !self.compiled.contains_key(expr) {
            if self.order.len() >= CACHE_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.compiled.remove(&oldest);
            }
            self.order.push_back(expr.to_vec());
            self.compiled.insert(expr.to_vec(), compile(expr));
        }
        self.compiled.get(expr)?.as_ref()
    }
}

fn compile(expr: &[u8]) -> Option<Regex> {
    if expr.len() > EXPR_BYTES_MAX {
        return None;
    }
    let translated = translate(std::str::from_utf8(expr).ok()?)?;
    RegexBuilder::new(&translated)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(DFA_BYTES_MAX)
        .build()
        .ok()
}

/// The expression in the dialect of the `regex` crate; `None` if Go refuses it.
fn translate(expr: &str) -> Option<String> {
    let mut translator = Translator {
        input: expr,
        out: String::new(),
        groups: Vec::new(),
        branch: Repeats::default(),
        after_repeat: false,
    };
    while translator.piece()?.is_some() {}
    translator.groups.is_empty().then_some(translator.out)
}

/// Go refuses expressions whose nested repeat counts multiply to more than 1000.
#[derive(Clone, Copy, Default)]
struct Repeats {
    /// Largest product inside the group so far.
    group: u32,
    /// That of the last item.
    last: u32,
}

struct Translator<'a> {
    input: &'a str,
    out: String,
    groups: Vec<Repeats>,
    branch: Repeats,
    /// The last piece was a repetition: Go refuses another one.
    after_repeat: bool,
}

impl<'a> Translator<'a> {
    /// Translates one piece; `Some(None)` at the end.
    fn piece(&mut self) -> Option<Option<()>> {
        let Some(c) = self.next() else { return Some(None) };
        let repeat = match c {
            '*' | '+' | '?' => Some((c.to_string(), 1)),
            '{' => self.counted()?,
            _ => None,
        };
        if let Some((repeat, count)) = repeat {
            return self.repeat(&repeat, count).map(Some);
        }
        self.after_repeat = false;
        match c {
            '\\' => self.escape()?,
            '[' => {
                self.class()?;
                self.item(1);
            }
            '(' => self.open()?,
            ')' => self.close()?,
            '|' => self.out.push('|'),
            '^' | '$' | '.' => {
                self.out.push(c);
                self.item(1);
            }
            c => self.literal(c),
        }
        Some(Some(()))
    }

    fn repeat(&mut self, repeat: &str, count: u32) -> Option<()> {
        if self.after_repeat {
            return None;
        }
        let product = self.branch.last.checked_mul(count).filter(|product| *product <= 1000)?;
        self.item(product);
        self.out.push_str(repeat);
        if self.take('?') {
            self.out.push('?');
        }
        self.after_repeat = true;
        Some(())
    }

    /// What follows an opening brace, if it is a count: `n}`, `n,}` or `n,m}`. Otherwise the
    /// brace is a literal, and nothing is taken. Outer `None`: refused.
    #[expect(clippy::option_option, reason = "refused, literal, count")]
    fn counted(&mut self) -> Option<Option<(String, u32)>> {
        let Some((body, rest)) = self.input.split_once('}') else { return Some(None) };
        let (min, max) = match body.split_once(',') {
            Some((min, max)) => (min, Some(max).filter(|max| !max.is_empty())),
            None => (body, Some(body)),
        };
        let is_number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits && (text == "0" || !text.starts_with('0'))
        };
        if !is_number(min) || !max.is_none_or(is_number) {
            return Some(None);
        }
        self.input = rest;
        let small = |text: &str| text.parse().ok().filter(|count: &u32| *count <= 1000);
        let min = small(min)?;
        let largest = match max {
            Some(max) => small(max)?,
            None => min,
        };
        if largest < min {
            return None;
        }
        Some(Some((format!("{{{body}}}"), largest.max(1))))
    }

    /// After a backslash outside of a class.
    fn escape(&mut self) -> Option<()> {
        let rest = self.input;
        let c = self.next()?;
        match c {
            'Q' => {
                let (quoted, rest) = match self.input.split_once("\\E") {
                    Some(split) => split,
                    None => (self.input, ""),
                };
                self.input = rest;
                quoted.chars().for_each(|c| self.literal(c));
            }
            'A' | 'z' => self.out.extend(['\\', c]),
            'b' => self.out.push_str("(?-u:\\b)"),
            // The second alone would match inside a character of several bytes; the first never.
            'B' => self.out.push_str("(?:(?:\\b|\\B)(?-u:\\B))"),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => self.out.push_str(perl_class(c)),
            'p' | 'P' => {
                let class = self.unicode_class(c == 'P')?;
                self.out.push_str(&class);
            }
            _ => {
                self.input = rest;
                let c = self.escaped_char()?;
                self.push_char(c);
            }
        }
        if c != 'Q' {
            self.item(1);
        }
        Some(())
    }

    /// After a backslash: an escape for one character.
    fn escaped_char(&mut self) -> Option<char> {
        let c = self.next()?;
        Some(match c {
            // A digit alone would be a back reference.
            '1'..='7' if !self.input.starts_with(|next| matches!(next, '0'..='7')) => return None,
            '0'..='7' => {
                let mut code = c.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.input.chars().next().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    self.next();
                    code = code * 8 + digit;
                }
                char::from_u32(code)?
            }
            'x' if self.take('{') => {
                let (digits, rest) = self.input.split_once('}')?;
                self.input = rest;
                hex_char(digits)?
            }
            'x' => {
                let digits = self.input.get(..2)?;
                self.input = self.input.get(2..)?;
                hex_char(digits)?
            }
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            _ => return None,
        })
    }

    /// After `\p` or `\P`.
    fn unicode_class(&mut self, negated: bool) -> Option<String> {
        let single;
        let name = if self.take('{') {
            let (name, rest) = self.input.split_once('}')?;
            self.input = rest;
            name
        } else {
            single = self.next()?.to_string();
            &single
        };
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name, negated),
        };
        let p = if negated { 'P' } else { 'p' };
        let letters = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !letters || !name.starts_with(|first: char| first.is_ascii_uppercase()) {
            return None;
        }
        Some(match name {
            "Any" => format!("\\{p}{{Any}}"),
            // A general category; the rest are scripts. Go knows no other properties.
            _ if name.len() <= 2 => format!("\\{p}{{gc={name}}}"),
            _ => format!("\\{p}{{sc={name}}}"),
        })
    }

    /// After the bracket of a class.
    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        if self.take('^') {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if !first && self.take(']') {
                self.out.push(']');
                return Some(());
            }
            first = false;
            if self.input.starts_with("[:")
                && let Some((name, rest)) =
                    self.input.get(2..).and_then(|after| after.split_once(":]"))
            {
                if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return None;
                }
                self.out.push_str(&format!("[:{name}:]"));
                self.input = rest;
                continue;
            }
            if let Some(rest) = self.input.strip_prefix('\\') {
                let mut chars = rest.chars();
                match chars.next()? {
                    c @ ('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                        self.input = chars.as_str();
                        self.out.push_str(perl_class(c));
                        continue;
                    }
                    c @ ('p' | 'P') => {
                        self.input = chars.as_str();
                        let class = self.unicode_class(c == 'P')?;
                        self.out.push_str(&class);
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_char()?;
            self.push_char(low);
            let after = self.input.strip_prefix('-');
            if let Some(after) = after.filter(|after| !after.starts_with(']')) {
                self.input = after;
                let high = self.class_char()?;
                if high < low {
                    return None;
                }
                self.out.push('-');
                self.push_char(high);
            }
        }
    }

    fn class_char(&mut self) -> Option<char> {
        match self.next()? {
            '\\' => self.escaped_char(),
            c => Some(c),
        }
    }

    /// After an opening parenthesis.
    fn open(&mut self) -> Option<()> {
        if !self.take('?') {
            self.out.push('(');
            self.enter();
            return Some(());
        }
        let named = self.input.strip_prefix("P<").or_else(|| self.input.strip_prefix('<'));
        if let Some(named) = named {
            let (name, rest) = named.split_once('>')?;
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(word) {
                return None;
            }
            self.input = rest;
            // A digit may come first in Go alone. Names given twice are refused by both.
            self.out.push_str(&format!("(?P<n{name}>"));
            self.enter();
            return Some(());
        }
        self.flags()
    }

    /// After `(?`.
    fn flags(&mut self) -> Option<()> {
        let (mut on, mut off) = (String::new(), String::new());
        let mut negative = false;
        let mut seen = false;
        loop {
            match self.next()? {
                flag @ ('i' | 'm' | 's' | 'U') => {
                    seen = true;
                    on.retain(|known| known != flag);
                    off.retain(|known| known != flag);
                    if negative { &mut off } else { &mut on }.push(flag);
                }
                '-' if !negative => {
                    negative = true;
                    seen = false;
                }
                end @ (':' | ')') => {
                    if negative && !seen {
                        return None;
                    }
                    let minus = if off.is_empty() { "" } else { "-" };
                    if end == ':' {
                        self.out.push_str(&format!("(?{on}{minus}{off}:"));
                        self.enter();
                    } else if !(on.is_empty() && off.is_empty()) {
                        self.out.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn enter(&mut self) {
        self.groups.push(self.branch);
        self.branch = Repeats::default();
    }

    fn close(&mut self) -> Option<()> {
        let inside = self.branch.group.max(1);
        self.branch = self.groups.pop()?;
        self.out.push(')');
        self.item(inside);
        Some(())
    }

    fn item(&mut self, repeats: u32) {
        self.branch.last = repeats;
        self.branch.group = self.branch.group.max(repeats);
    }

    fn literal(&mut self, c: char) {
        self.push_char(c);
        self.item(1);
    }

    /// A character that means itself wherever it stands.
    fn push_char(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.input.chars();
        let next = chars.next()?;
        self.input = chars.as_str();
        Some(next)
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.input.strip_prefix(c);
        if let Some(rest) = rest {
            self.input = rest;
        }
        rest.is_some()
    }
}

fn hex_char(digits: &str) -> Option<char> {
    let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// The ASCII form, valid inside and outside of a class.
fn perl_class(c: char) -> &'static str {
    match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\f\\r\\x20]",
        'S' => "[^\\t\\n\\f\\r\\x20]",
        'w' => "[0-9A-Za-z_]",
        _ => "[^0-9A-Za-z_]",
    }
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];
/// Expressions kept compiled.
const CACHE_MAX: usize = 64;
/// Longest expression looked at; a query of 1024 bytes holds less.
const EXPR_BYTES_MAX: usize = 8 * 1024;
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
const DFA_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(expr: &str, text: &str) -> Option<bool> {
        compile(expr.as_bytes()).map(|regex| regex.is_match(text.as_bytes()))
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
        // Go takes these.
        let long = "a".repeat(EXPR_BYTES_MAX + 1);
        let large = r"\pL{1000}".to_owned();
        for expr in ["a(?i)*", long.as_str(), large.as_str()] {
            assert_eq!(is_match(expr, "aaa"), None, "{:?}", expr.get(..20));
        }
        matches(&"a".repeat(EXPR_BYTES_MAX), &"a".repeat(EXPR_BYTES_MAX));
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
        assert!(compile(b"\xff").is_none());
    }

    #[test]
    fn cache_is_bounded_and_remembers_failures() {
        let mut cache = RegexCache::default();
        assert!(cache.compile(b"(").is_none());
        for n in 0..10 * CACHE_MAX {
            assert!(cache.compile(n.to_string().as_bytes()).is_some());
        }
        assert_eq!(cache.compiled.len(), CACHE_MAX);
        assert_eq!(cache.order.len(), CACHE_MAX);
        assert!(cache.compile(b"(").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_expression_compiles_or_not_without_panic(expr in "\\PC{0,40}") {
            let _ = compile(expr.as_bytes());
        }

        #[test]
        fn quoted_text_matches_itself(text in "[^\\\\]{0,20}") {
            let expr = format!("^\\Q{text}\\E$");
            proptest::prop_assert_eq!(is_match(&expr, &text), Some(true));
        }
    }
}
