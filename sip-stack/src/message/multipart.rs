//! The one part of a multipart body that is a session description (RFC 2046 §5.1).

use super::lexer::trim;
use super::values::params;

/// The SDP inside a body of `content_type`: the body itself, or the last SDP part of a multipart one (in
/// multipart/alternative the last is the preferred, RFC 2046 §5.1.4; in mixed there is one).
pub(super) fn sdp<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    let (kind, parameters) = match content_type.iter().position(|b| *b == b';') {
        Some(at) => (trim(&content_type[..at]), &content_type[at..]),
        None => (trim(content_type), &[][..]),
    };
    if kind.eq_ignore_ascii_case(b"application/sdp") {
        return Some(body);
    }
    if !kind.get(..10).is_some_and(|k| k.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    let (_, boundary) = params(parameters).find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))?;
    let boundary = boundary.strip_prefix(b"\"").and_then(|b| b.strip_suffix(b"\"")).unwrap_or(boundary);
    // RFC 2046: 1 to 70 characters.
    if !(1..=70).contains(&boundary.len()) {
        return None;
    }
    let mut found = None;
    for part in parts(body, boundary) {
        let Some(end) = super::lexer::head_end(part) else { continue };
        let is_sdp = part[..end].split(|b| *b == b'\n').any(|line| {
            let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
            let (name, value) = (trim(&line[..colon]), &line[colon + 1..]);
            let kind = value.split(|b| *b == b';').next().unwrap_or_default();
            (name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"c"))
                && kind.trim_ascii().eq_ignore_ascii_case(b"application/sdp")
        });
        if is_sdp {
            found = Some(&part[end..]);
        }
    }
    found
}

/// The parts between delimiter lines, each from its headers on.
fn parts<'a, 'b>(body: &'a [u8], boundary: &'b [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'b> {
    let mut rest = Some(body);
    let mut first = true;
    std::iter::from_fn(move || {
        loop {
            let text = rest?;
            let at = find_delimiter(text, boundary);
            let (part, next) = match at {
                Some((start, end)) => (&text[..start], Some(&text[end..])),
                None => (text, None),
            };
            // Behind the closing delimiter (`--boundary--`) there is only an epilogue.
            rest = next.filter(|n| !n.starts_with(b"--")).map(|n| n.strip_prefix(b"\r\n").unwrap_or(n));
            if std::mem::take(&mut first) {
                continue;
            }
            return at.map(|_| part);
        }
    })
}

/// Start (of the line end before it) and end of the next `--boundary` at a line's start.
fn find_delimiter(text: &[u8], boundary: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = text[from..].windows(2).position(|w| w == b"--").map(|p| p + from) {
        let end = at + 2 + boundary.len();
        let at_line_start = at == 0 || text[..at].ends_with(b"\r\n");
        if at_line_start && text.get(at + 2..end) == Some(boundary) {
            return Some((at.saturating_sub(2), end));
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sdp_part_is_found_and_binary_neighbours_are_passed_over() {
        let body = b"preamble\r\n--b1\r\nContent-Type: application/isup\r\n\r\n\0\x01--b1x\r\n\
            --b1\r\nContent-Type: application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\none\r\n\
            --b1\r\nc: Application/SDP;x=y\r\n\r\nv=0\r\ntwo\r\n--b1--\r\nepilogue";
        assert_eq!(sdp(b"multipart/alternative;boundary=\"b1\"", body), Some(&b"v=0\r\ntwo"[..]));
        assert_eq!(sdp(b"multipart/mixed", body), None);
        assert_eq!(sdp(b"text/plain", body), None);
        assert_eq!(sdp(b"Application/SDP ; charset=x", b"v=0"), Some(&b"v=0"[..]));
        assert_eq!(sdp(b"multipart/mixed;boundary=none", body), None);
    }
}
