//! Sanitizes text from the network for logs, terminals and line-based files.

use std::fmt::{self, Display, Formatter, Write};

/// Formats bytes that a peer chose for a log line: characters that could break or repaint a line
/// are escaped, bytes that are not UTF-8 are written as `\xff`, and text longer than
/// [`PRINTABLE_BYTES_MAX`] is cut. Applying it twice gives the same text, unless it is cut.
pub(crate) fn printable<B: AsRef<[u8]> + ?Sized>(bytes: &B) -> impl Display + '_ {
    fmt::from_fn(|f| {
        let mut out = Escape::new(f, PRINTABLE_BYTES_MAX);
        for chunk in bytes.as_ref().utf8_chunks() {
            out.write_str(chunk.valid())?;
            out.invalid(chunk.invalid())?;
        }
        out.finish()
    })
}

/// The same for a value whose text contains data from a peer, such as an error; shows at most `max`
/// bytes.
pub(crate) fn printable_text<D: Display + ?Sized>(value: &D, max: usize) -> impl Display + '_ {
    fmt::from_fn(move |f| {
        let mut out = Escape::new(f, max);
        write!(out, "{value}")?;
        out.finish()
    })
}

/// Formats names for a log line: the first few, then the number of the others.
pub(crate) fn short_list(names: &[std::sync::Arc<str>]) -> impl Display + '_ {
    fmt::from_fn(move |f| {
        for (at, name) in names.iter().take(LISTED_MAX).enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, printable(&**name))?;
        }
        match names.len().checked_sub(LISTED_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    })
}

/// A `Write` adapter that escapes text and counts the bytes that exceed the limit.
struct Escape<'a, 'f> {
    out: &'a mut Formatter<'f>,
    room: usize,
    cut: usize,
}

impl<'a, 'f> Escape<'a, 'f> {
    fn new(out: &'a mut Formatter<'f>, room: usize) -> Self {
        Self { out, room, cut: 0 }
    }

    /// Reserves `len` bytes; after the first failure nothing fits any more.
    fn take(&mut self, len: usize) -> bool {
        let fits = self.cut == 0 && len <= self.room;
        if fits {
            self.room -= len;
        } else {
            self.cut += len;
        }
        fits
    }

    fn invalid(&mut self, bytes: &[u8]) -> fmt::Result {
        for byte in bytes {
            if self.take(1) {
                write!(self.out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }

    fn finish(self) -> fmt::Result {
        match self.cut {
            0 => Ok(()),
            cut => write!(self.out, "… ({cut} bytes more)"),
        }
    }
}

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while self.cut == 0 && !rest.is_empty() {
            // Fast path: nearly all text is plain ASCII and is written in one piece.
            let plain = rest.bytes().take(self.room).take_while(|b| matches!(b, b' '..=b'~'));
            let (plain, more) = rest.split_at(plain.count());
            self.room -= plain.len();
            self.out.write_str(plain)?;
            rest = more;
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            rest = chars.as_str();
            if !self.take(c.len_utf8()) {
                break;
            }
            if repaints(c) {
                write!(self.out, "{}", c.escape_default())?;
            } else {
                self.out.write_char(c)?;
            }
        }
        self.cut += rest.len();
        Ok(())
    }
}

/// Whether a character moves the cursor, ends the line, or changes the order or look of other
/// characters: control characters, line and paragraph separators, direction marks, invisible
/// characters.
pub(crate) fn repaints(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Longest text from the network that a log line shows, in bytes.
pub(crate) const PRINTABLE_BYTES_MAX: usize = 128;
/// Most names listed in a log line.
const LISTED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_or_repaints_a_line_is_escaped() {
        let table: [(&[u8], &str); 6] = [
            ("web-1 ü 東 a\\b 'q'".as_bytes(), "web-1 ü 東 a\\b 'q'"),
            (b"x\n[ERR] y\r\t\x1b[2J\0\x7f", "x\\n[ERR] y\\r\\t\\u{1b}[2J\\u{0}\\u{7f}"),
            (
                "a\u{85}b\u{202e}c\u{2028}d\u{feff}".as_bytes(),
                "a\\u{85}b\\u{202e}c\\u{2028}d\\u{feff}",
            ),
            (b"\xffok\xc3", "\\xffok\\xc3"),
            (b"", ""),
            (b"\\n", "\\n"),
        ];
        for (bytes, text) in table {
            assert_eq!(printable(bytes).to_string(), text);
            assert_eq!(printable(text).to_string(), text, "twice is once");
        }
        let error = format!("remote error: {}", "a\nb");
        assert_eq!(printable_text(&error, 200).to_string(), "remote error: a\\nb");
    }

    #[test]
    fn what_is_long_is_cut_at_a_character() {
        let max = PRINTABLE_BYTES_MAX;
        assert_eq!(printable(&vec![b'a'; max]).to_string(), "a".repeat(max));
        let cut = format!("{}… (5 bytes more)", "a".repeat(max));
        assert_eq!(printable(&vec![b'a'; max + 5]).to_string(), cut);
        // A two-byte character does not fit in one byte, and nothing is written after it.
        let text = format!("{}üb", "a".repeat(max - 1));
        let cut = format!("{}… (3 bytes more)", "a".repeat(max - 1));
        assert_eq!(printable(&text).to_string(), cut);
        assert_eq!(printable_text(&text, max).to_string(), cut);
        assert_eq!(
            printable(&vec![0xff; max + 2]).to_string().len(),
            4 * max + "… (2 bytes more)".len()
        );
        assert_eq!(
            printable_text(&format_args!("{}{}", "abc", "def"), 4).to_string(),
            "abcd… (2 bytes more)"
        );
    }
}
