//! Numbers and booleans in Go's text forms.

/// A boolean. Go: `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// An integer in any of Go's notations. Go: `strconv.ParseInt(text, 0, 64)`.
///
/// # Errors
/// The reason that Go's flag parser gives.
pub fn parse_int(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)),
        [b'0', b'o', ..] => (8, lower.get(2..)),
        [b'0', b'b', ..] => (2, lower.get(2..)),
        [b'0', _, ..] => (8, lower.get(1..)),
        _ => (10, Some(lower.as_str())),
    };
    let body = body.unwrap_or_default();
    let prefixed = body.len() < lower.len();
    let bad_underscore =
        (body.contains('_') && !prefixed) || body.ends_with('_') || body.contains("__");
    let body = body.replace('_', "");
    if body.is_empty() || bad_underscore || !body.chars().all(|c| c.is_digit(radix)) {
        return Err(SYNTAX);
    }
    let value = i128::from_str_radix(&body, radix).map_err(|_| RANGE)?;
    i64::try_from(if negative { -value } else { value }).map_err(|_| RANGE)
}

/// A decimal number.
///
/// # Errors
/// The reason that Go's flag parser gives.
pub fn parse_float(text: &str) -> Result<f64, &'static str> {
    let number: f64 = text.parse().map_err(|_| SYNTAX)?;
    let is_named = text.contains(['i', 'I']);
    if number.is_infinite() && !is_named { Err(RANGE) } else { Ok(number) }
}

const SYNTAX: &str = "parse error";
const RANGE: &str = "value out of range";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_the_notations_of_go() {
        for (text, value) in [("0x1F", 31), ("-0b11", -3), ("017", 15), ("1", 1), ("0x_1f", 31)] {
            assert_eq!(parse_int(text), Ok(value), "{text}");
        }
        for text in ["", "a", "08", "1_0_", "--1", "1_000"] {
            assert_eq!(parse_int(text), Err("parse error"), "{text}");
        }
        assert_eq!(parse_int("9223372036854775808"), Err("value out of range"));
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn numbers_have_fractions_and_exponents() {
        assert_eq!(parse_float("0.5"), Ok(0.5));
        assert_eq!(parse_float("1e3"), Ok(1000.0));
        assert_eq!(parse_float("1e999"), Err("value out of range"));
        assert_eq!(parse_float("x"), Err("parse error"));
    }
}
