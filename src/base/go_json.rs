//! JSON that Go's `encoding/json` accepts and other parsers reject.

/// Rewrites a JSON text so that any parser reads it as Go does: in strings, bytes that are not
/// UTF-8 and unpaired surrogates become U+FFFD. Malformed text stays malformed.
///
/// Spaces are appended where the text ends in a short escape with a character that is not a hex
/// digit, as in `\u0g`: a parser that reads four digits at once would report the end of the file,
/// but Go reports the character.
pub fn readable(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|_| text.push(char::REPLACEMENT_CHARACTER));
    }
    without_lone_surrogates(&text).into_bytes()
}

/// Parses the first value of a text that is nested as deeply as Go accepts it, which is deeper than
/// a parser may recurse. Containers below the first few levels become null: what is so deep is only
/// checked.
///
/// # Errors
/// The text is malformed, or deeper than Go's limit.
#[cfg(feature = "agent")]
pub fn parse(bytes: &[u8]) -> Result<serde_json::Value, ParseError> {
    use serde::Deserialize as _;
    let parser = serde_json::Deserializer::from_slice;
    let shallow = shallow(bytes).ok_or(ParseError::TooDeep)?;
    if matches!(shallow, std::borrow::Cow::Owned(_)) {
        // It does not recurse.
        serde::de::IgnoredAny::deserialize(&mut parser(bytes)).map_err(ParseError::Malformed)?;
    }
    serde_json::Value::deserialize(&mut parser(&shallow)).map_err(ParseError::Malformed)
}

/// Why a text cannot be parsed.
#[cfg(feature = "agent")]
#[derive(Debug)]
pub enum ParseError {
    /// It is not JSON.
    Malformed(serde_json::Error),
    /// It is nested more deeply than Go accepts. Go: `encoding/json`, `maxNestingDepth`.
    TooDeep,
}

/// The text, with null for containers below [`DEPTH_KEPT`]; `None` if it exceeds Go's limit.
#[cfg(feature = "agent")]
fn shallow(bytes: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut out, mut kept_to) = (Vec::new(), 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                if depth == DEPTH_KEPT + 1 {
                    out.extend_from_slice(bytes.get(kept_to..at)?);
                    out.extend_from_slice(b"null");
                    kept_to = bytes.len();
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == DEPTH_KEPT && kept_to == bytes.len() {
                    kept_to = at + 1;
                }
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    if out.is_empty() {
        return Some(bytes.into());
    }
    out.extend_from_slice(bytes.get(kept_to..)?);
    Some(out.into())
}

/// Translates serde_json's errors for a truncated file or a value of the wrong type into Go's
/// words. `whole` is the Go type of the whole file.
pub fn decode_error(text: String, is_eof: bool, whole: &str) -> String {
    if is_eof {
        return "unexpected end of JSON input".to_owned();
    }
    let Some((found, wanted)) =
        text.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    else {
        return text;
    };
    let found = match found.split(' ').next().unwrap_or_default() {
        "map" => "object",
        "sequence" => "array",
        "boolean" => "bool",
        "integer" | "floating" => "number",
        other => other,
    };
    let wanted = if wanted.starts_with("a string") { "string" } else { whole };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

fn without_lone_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut blanks = 0;
    // A backslash outside a string makes the text malformed in any case.
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        rest = after;
        match (surrogate(rest), rest.get(5..).and_then(|next| next.strip_prefix('\\'))) {
            (None, _) => {
                out.push('\\');
                blanks = rest.strip_prefix('u').map_or(blanks, missing_digits);
                // The escaped character may itself be a backslash.
                let escaped = rest.chars().next().map_or(0, char::len_utf8);
                let (escaped, after) = rest.split_at(escaped);
                out.push_str(escaped);
                rest = after;
            }
            (Some(0xd800..=0xdbff), Some(next))
                if surrogate(next).is_some_and(|low| low >= 0xdc00) =>
            {
                let (pair, after) = rest.split_at(11);
                out.push('\\');
                out.push_str(pair);
                rest = after;
            }
            (Some(_), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                rest = rest.get(5..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out.extend(std::iter::repeat_n(' ', blanks));
    out
}

/// Number of digits missing from a four-digit escape, if one of those present is not a hex digit.
fn missing_digits(text: &str) -> usize {
    let malformed = text.bytes().any(|byte| !byte.is_ascii_hexdigit());
    if malformed { 4_usize.saturating_sub(text.len()) } else { 0 }
}

/// The surrogate encoded by `u` and four hex digits, if it is one.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok().filter(|_| hex)?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

/// Case-insensitive comparison of names. Go: `strings.EqualFold`, for one ASCII argument.
pub fn equal_fold(ascii: &str, other: &str) -> bool {
    let fold = |c: char| match c {
        // The two non-ASCII letters that fold to an ASCII one.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    ascii.chars().map(fold).eq(other.chars().map(fold))
}

/// Go: `encoding/json`, `maxNestingDepth`.
#[cfg(feature = "agent")]
const DEPTH_MAX: usize = 10_000;
/// Levels that are parsed: more than any setting has, and fewer than a parser refuses.
#[cfg(feature = "agent")]
const DEPTH_KEPT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_utf8_are_replaced_one_by_one() {
        assert_eq!(readable(b"{\"M\xfcn\"}"), "{\"M\u{fffd}n\"}".as_bytes());
        assert_eq!(readable(b"\xe2\x82"), "\u{fffd}\u{fffd}".as_bytes());
        assert_eq!(readable("ü€".as_bytes()), "ü€".as_bytes());
    }

    #[cfg(feature = "agent")]
    #[test]
    fn deep_values_are_checked_and_left_out() {
        let nested = |depth: usize, inner: &str| {
            format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))
        };
        let text = |value: Result<serde_json::Value, ParseError>| match value {
            Ok(value) => value.to_string(),
            Err(ParseError::Malformed(error)) => error.to_string(),
            Err(ParseError::TooDeep) => "exceeded max depth".to_owned(),
        };
        let parsed = |json: &str| text(parse(json.as_bytes()));
        assert_eq!(parsed(r#"{"a":["]",{"b\"":1}]} ]"#), r#"{"a":["]",{"b\"":1}]}"#);
        assert_eq!(parsed(&nested(DEPTH_KEPT, "1")), nested(DEPTH_KEPT, "1"));
        for deep in [DEPTH_KEPT + 1, 200, DEPTH_MAX] {
            let two = format!("{},2", nested(deep - DEPTH_KEPT, "\"[\""));
            let kept = nested(DEPTH_KEPT, "null,2");
            assert_eq!(parsed(&nested(DEPTH_KEPT, &two)), kept, "{deep}");
        }
        assert_eq!(parsed(&nested(DEPTH_MAX + 1, "")), "exceeded max depth");
        for wrong in [nested(200, "x"), nested(200, "}"), nested(DEPTH_KEPT + 1, "x")] {
            assert!(parsed(&wrong).contains(" at line 1 "), "{wrong}: {}", parsed(&wrong));
        }
    }

    #[test]
    fn lone_halves_of_surrogate_pairs_are_replaced() {
        for (text, expected) in [
            (r#""\ud800""#, "\"\u{fffd}\""),
            (r#""\udc00x""#, "\"\u{fffd}x\""),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, "\"\u{fffd}\\ud83d\\ude00\""),
            (r#""\ud83d\n""#, "\"\u{fffd}\\n\""),
            (r#""\\ud800""#, r#""\\ud800""#),
            (r#""\\\ud800""#, "\"\\\\\u{fffd}\""),
            (r#""\u00e4\""#, r#""\u00e4\""#),
            (r#""\ud8"#, r#""\ud8"#),
            ("\"\\u0\n", "\"\\u0\n  "),
            ("\"\\u\"", "\"\\u\"   "),
            (r#""\u+d80""#, r#""\u+d80""#),
            ("\\", "\\"),
        ] {
            assert_eq!(String::from_utf8(readable(text.as_bytes())).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn names_fold_as_in_go() {
        for name in ["start_join", "START_JOIN", "\u{17f}tart_join"] {
            assert!(equal_fold("start_join", name));
        }
        assert!(equal_fold("keyring_file", "\u{212a}eyring_file"));
        assert!(!equal_fold("bind", "bınd") && !equal_fold("bind", "bİnd"));
    }
}
