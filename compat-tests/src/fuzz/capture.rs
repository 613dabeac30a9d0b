//! The contents of a capture, which come from an unknown recorder.

use std::io::{Cursor, Read};

use ruserf::cli::{Format, Options, decode};

/// A capture is decoded as far as it goes: as many lines of text as of JSON, each of them whole,
/// and nothing in them that could repaint a terminal.
pub fn capture(input: &[u8]) {
    let text = lines(input, Format::Text, false);
    let json = lines(input, Format::Json, false);
    assert_eq!(text.lines().count(), json.lines().count(), "{text}\n{json}");
    for line in json.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    for lines in [&text, &json] {
        assert!(!lines.chars().any(|c| c != '\n' && c.is_control()), "{lines:?}");
    }
    let figures = lines(input, Format::Json, true);
    assert_eq!(figures.lines().count(), 1, "{figures}");
}

fn lines(input: &[u8], format: Format, stats: bool) -> String {
    let options = Options { format, stats, ..Options::default() };
    let mut lines = String::new();
    let input: Box<dyn Read> = Box::new(Cursor::new(input.to_vec()));
    let _ = decode([input], &options, &mut |text| lines.push_str(text));
    lines
}
