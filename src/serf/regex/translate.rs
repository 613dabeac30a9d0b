//! Translates Go's dialect of regular expressions to that of `regex-syntax`.
//!
//! The two dialects differ where they look alike: in Go, Perl classes are ASCII, there are no set
//! operations or nested classes, but `\Q..\E` and octal escapes. So the expression is rewritten
//! piece by piece; expressions that Go refuses are refused.

use super::{Allowance, Unusable};

/// Translates `expr` to the dialect of `regex-syntax` and charges the cost of parsing it.
pub(super) fn translate(expr: &str, work: &mut Allowance) -> Result<String, Unusable> {
    work.charge(BYTE_PRICE * expr.len() as u64)?;
    let mut translator = Translator {
        input: expr,
        out: String::new(),
        groups: Vec::new(),
        branch: Repeats::default(),
        after_repeat: false,
        folds: false,
        price: 0,
    };
    let translated = translator.whole();
    work.charge(translator.price)?;
    translated.ok_or(Unusable::Invalid)
}

/// Tracks nested repeat counts: Go refuses expressions in which they multiply to more than 1000.
#[derive(Clone, Copy, Default)]
struct Repeats {
    /// Largest product inside the current group so far.
    group: u32,
    /// Product of the last item.
    last: u32,
}

struct Translator<'a> {
    input: &'a str,
    out: String,
    groups: Vec<Repeats>,
    branch: Repeats,
    /// Whether the last piece was a repetition: Go refuses a second one.
    after_repeat: bool,
    /// Whether case may be ignored from here on, which makes each character a class.
    folds: bool,
    /// Cost of parsing the translation, in addition to its length.
    price: u64,
}

impl<'a> Translator<'a> {
    /// Translates the whole expression; `None` if Go refuses it.
    fn whole(&mut self) -> Option<String> {
        while self.piece()?.is_some() {}
        self.groups.is_empty().then(|| std::mem::take(&mut self.out))
    }

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
            '^' | '$' => {
                self.out.push(c);
                self.item(1);
            }
            '.' => {
                // `.` has no case, and the parser would fold a million characters to find out.
                self.out.push_str(if self.folds { "(?-i:.)" } else { "." });
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

    /// Parses what follows an opening brace, if it is a count: `n}`, `n,}` or `n,m}`. Otherwise the
    /// brace is a literal, and nothing is consumed. Outer `None`: refused.
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

    /// Translates what follows a backslash outside a class.
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
            'B' => self.out.push_str("(?-u:\\B)"),
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

    /// Parses what follows a backslash: an escape for one character.
    fn escaped_char(&mut self) -> Option<char> {
        let c = self.next()?;
        Some(match c {
            // A single digit would be a back reference.
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

    /// Translates what follows `\p` or `\P`.
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
        self.price += match (self.folds, name) {
            (false, _) => UNICODE_PRICE,
            (true, "Any") => FOLDED_PRICE * u64::from(u32::from(char::MAX)),
            (true, _) => FOLDED_UNICODE_PRICE,
        };
        Some(match name {
            "Any" => format!("\\{p}{{Any}}"),
            // A general category; all other names are scripts. Go has no other properties.
            _ if name.len() <= 2 => format!("\\{p}{{gc={name}}}"),
            _ => format!("\\{p}{{sc={name}}}"),
        })
    }

    /// Translates what follows the opening bracket of a class.
    fn class(&mut self) -> Option<()> {
        self.price += CLASS_PRICE;
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
                self.price += CLASS_PRICE;
                self.out.push_str(&format!("[[:{name}:]]"));
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
            self.range()?;
        }
    }

    /// Translates a character or a range in a class.
    fn range(&mut self) -> Option<()> {
        let low = self.class_char()?;
        let mut high = low;
        let after = self.input.strip_prefix('-');
        if let Some(after) = after.filter(|after| !after.starts_with(']')) {
            self.input = after;
            high = self.class_char()?;
        }
        if high < low {
            return None;
        }
        self.price += RANGE_PRICE;
        if self.folds {
            // A separate class, so that the others are not case-folded again.
            self.price += FOLDED_PRICE * u64::from(u32::from(high) - u32::from(low));
            self.out.push('[');
        }
        self.push_char(low);
        if high > low {
            self.out.push('-');
            self.push_char(high);
        }
        if self.folds {
            self.out.push(']');
        }
        Some(())
    }

    fn class_char(&mut self) -> Option<char> {
        match self.next()? {
            '\\' => self.escaped_char(),
            c => Some(c),
        }
    }

    /// Translates what follows an opening parenthesis.
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
            // Go also accepts names that begin with a digit. Both refuse duplicate names.
            self.out.push_str(&format!("(?P<n{name}>"));
            self.enter();
            return Some(());
        }
        self.flags()
    }

    /// Parses what follows `(?`.
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
                    self.folds |= flag == 'i' && !negative;
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

    /// Appends a literal character, valid inside and outside a class.
    fn push_char(&mut self, c: char) {
        if self.folds {
            self.price += CLASS_PRICE;
        }
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

/// A Perl class in its ASCII form, valid inside and outside a class.
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
/// Costs in units of an [`Allowance`], measured: a byte of the expression;
const BYTE_PRICE: u64 = 40;
/// a class, or a character whose case is ignored;
const CLASS_PRICE: u64 = 400;
/// a range in a class;
const RANGE_PRICE: u64 = 20;
/// a general category or script, and the same with case ignored;
const UNICODE_PRICE: u64 = 2_000;
const FOLDED_UNICODE_PRICE: u64 = 150_000;
/// a character of a range, with case ignored.
const FOLDED_PRICE: u64 = 3;
