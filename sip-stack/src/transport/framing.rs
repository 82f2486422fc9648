//! Where a message ends in a stream (RFC 3261 §18.3): by Content-Length, which is obligatory there.

use crate::message::lexer::{MOST_BYTES, decimal, head_end, trim};

vault::leaves! {
    /// What stands at the start of a stream's bytes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Frame {
        /// A message of so many bytes.
        Message(usize),
        /// Line ends before a message, to be skipped; with a double one, a keep-alive (RFC 5626 §4.4.1).
        Blank(Blank),
        /// Not all there yet.
        Partial,
        /// No SIP, no usable Content-Length, or too large: the stream cannot be read further.
        Bad,
    }

    /// Line ends.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Blank {
        /// How many bytes.
        pub len: usize,
        /// Whether an answer is wanted.
        pub ping: bool,
    }
}

/// Looks at the bytes of a stream.
pub fn scan(bytes: &[u8]) -> Frame {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    if blank > 0 {
        // A lone CR or an unfinished ping waits for the rest.
        if blank == bytes.len() && !bytes.ends_with(b"\n") {
            return Frame::Partial;
        }
        return Frame::Blank(Blank { len: blank, ping: bytes[..blank].windows(4).any(|w| w == b"\r\n\r\n") });
    }
    let Some(end) = head_end(bytes) else {
        return if bytes.len() >= MOST_BYTES || is_binary(bytes) { Frame::Bad } else { Frame::Partial };
    };
    let mut lines = bytes[..end].split(|b| *b == b'\n').skip(1).peekable();
    let mut lengths = std::iter::from_fn(|| {
        loop {
            let line = lines.next()?;
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let name = trim(&line[..colon]);
            let is = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
            // A line that folds is of the header before it, whatever it looks like (RFC 3261 §7.3.1).
            if !is || is_folded(line) {
                continue;
            }
            let mut value = line[colon + 1..].trim_ascii();
            while let Some(more) = lines.next_if(|l| is_folded(l)).map(<[u8]>::trim_ascii) {
                match (value, more) {
                    (_, b"") => {}
                    (b"", more) => value = more,
                    // A number in two parts is none.
                    _ => return Some(None),
                }
            }
            return Some(decimal(value));
        }
    });
    // Two lengths are how a second message is smuggled in: the stream ends here.
    let (Some(Some(length)), None) = (lengths.next(), lengths.next()) else { return Frame::Bad };
    let total = end.saturating_add(length as usize);
    match total {
        t if t > MOST_BYTES => Frame::Bad,
        t if t > bytes.len() => Frame::Partial,
        t => Frame::Message(t),
    }
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// A TLS hello, say: no reason to wait for an empty line.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8).any(|b| b.is_ascii_control() && !matches!(b, b'\r' | b'\n' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_content_length_says() {
        let one = b"OPTIONS sip:a SIP/2.0\r\nl : 3\r\n\r\nabcNEXT";
        assert_eq!(scan(one), Frame::Message(one.len() - 4));
        for end in 1..one.len() - 4 {
            assert_eq!(scan(&one[..end]), Frame::Partial, "{end}");
        }
    }

    #[test]
    fn keep_alives_and_stray_line_ends() {
        assert_eq!(scan(b"\r\n\r\n"), Frame::Blank(Blank { len: 4, ping: true }));
        assert_eq!(scan(b"\r\nOPTIONS"), Frame::Blank(Blank { len: 2, ping: false }));
        assert_eq!(scan(b"\r"), Frame::Partial);
        assert_eq!(scan(b""), Frame::Partial);
    }

    #[test]
    fn a_stream_that_cannot_be_framed_is_bad() {
        for bad in [
            &b"OPTIONS sip:a SIP/2.0\r\nTo: x\r\n\r\n"[..],
            b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 9999999\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\nl: 5\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 1\r\n 0\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nSubject: x\r\n l: 5\r\n\r\nabcde",
            b"\x16\x03\x01\x02\x00\x01",
            &[b'a'; MOST_BYTES],
        ] {
            assert_eq!(scan(bad), Frame::Bad);
        }
    }
}
