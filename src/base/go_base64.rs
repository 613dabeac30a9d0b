//! Standard base64: encodes with padding and decodes as Go's `encoding/base64` does. Line breaks
//! are skipped, padding is required, surplus bits after the last byte are ignored, and an error
//! reports the same offset as Go's.

/// Decodes `text`.
///
/// # Errors
/// Go's text, with the offset of the first invalid byte.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut input = Input { bytes: text.as_bytes(), at: 0 };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    loop {
        match input.quantum(&mut out) {
            Ok(true) => {}
            Ok(false) => return Ok(out),
            Err(at) => return Err(format!("illegal base64 data at input byte {at}")),
        }
    }
}

/// Encodes `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits.iter_mut().skip(1).zip(chunk).for_each(|(to, from)| *to = *from);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as u8 & 0x3f;
            text.push(if place > chunk.len() { '=' } else { character(sextet) });
        }
    }
    text
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    /// Decodes one quantum of four characters; returns false at the end of the input. The error is
    /// the offset of the invalid byte.
    fn quantum(&mut self, out: &mut Vec<u8>) -> Result<bool, usize> {
        let mut bits: u32 = 0;
        let mut count = 0;
        while count < 4 {
            let Some(byte) = self.next() else {
                return if count == 0 { Ok(false) } else { Err(self.at - count) };
            };
            match sextet(byte) {
                Some(value) => bits = bits << 6 | value,
                None if matches!(byte, b'\r' | b'\n') => continue,
                None if byte == b'=' => {
                    self.padding(count)?;
                    let whole = bits << (6 * (4 - count));
                    out.extend(whole.to_be_bytes().iter().skip(1).take(count - 1));
                    return Ok(false);
                }
                None => return Err(self.at - 1),
            }
            count += 1;
        }
        out.extend(bits.to_be_bytes().iter().skip(1));
        Ok(true)
    }

    /// Validates what follows the first `=` of a quantum with `count` characters: the remaining
    /// padding and nothing else.
    fn padding(&mut self, count: usize) -> Result<(), usize> {
        if count < 2 {
            return Err(self.at - 1);
        }
        if count == 2 {
            self.skip_breaks();
            match self.next() {
                Some(b'=') => {}
                Some(_) => return Err(self.at - 2),
                None => return Err(self.bytes.len()),
            }
        }
        self.skip_breaks();
        if self.at < self.bytes.len() { Err(self.at) } else { Ok(()) }
    }

    fn skip_breaks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }
}

fn character(sextet: u8) -> char {
    char::from(match sextet {
        0..26 => b'A' + sextet,
        26..52 => b'a' + (sextet - 26),
        52..62 => b'0' + (sextet - 52),
        62 => b'+',
        _ => b'/',
    })
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::{decode, encode};

    #[test]
    fn encoding_is_what_the_base64_crate_says() {
        let bytes: Vec<u8> = (0..=255).rev().collect();
        for len in 0..bytes.len() {
            let text = encode(&bytes[..len]);
            assert_eq!(text, BASE64_STANDARD.encode(&bytes[..len]));
            assert_eq!(decode(&text).as_deref(), Ok(&bytes[..len]));
        }
    }

    /// The expected offsets were printed by a Go agent.
    #[test]
    fn mistakes_are_named_where_go_names_them() {
        for (text, at) in [
            ("!", 0),
            ("5K9", 0),
            ("A", 0),
            ("AAAAA", 4),
            ("A===", 1),
            ("AA=", 3),
            ("AA=A", 2),
            ("AAA=x", 4),
            ("AAAA=", 4),
            ("AA==AAAA", 4),
            ("not base64", 3),
            ("AAAA\nA*AA", 6),
            ("AA\u{e9}A", 2),
        ] {
            let text_of = format!("illegal base64 data at input byte {at}");
            assert_eq!(decode(text), Err(text_of), "{text:?}");
        }
    }

    #[test]
    fn line_breaks_are_skipped_and_spare_bits_ignored() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("\n", b""),
            ("AAAA", &[0, 0, 0]),
            ("AP+/", &[0, 0xff, 0xbf]),
            ("AB==", &[0]),
            ("AAB=", &[0, 0]),
            ("A\r\nAAA\n", &[0, 0, 0]),
            ("AA=\n=\n", &[0]),
        ] {
            assert_eq!(decode(text).as_deref(), Ok(bytes), "{text:?}");
        }
    }
}
