//! STUN (RFC 8489) as far as an ICE-lite agent needs it: Binding requests read, their answers written.

use ring::hmac;
use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const FAILURE: u16 = 0x0111;
const USERNAME: u16 = 0x0006;
const INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const MAPPED: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const CONTROLLED: u16 = 0x8029;
/// What the CRC is XORed with (RFC 8489 §14.7).
const FINGERPRINT_MASK: u32 = 0x5354_554e;
/// From here on a receiver may pass over what it does not know (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;
/// Unknown attributes that an answer names at most.
const MOST_UNKNOWN: usize = 4;
/// The longest answer of ours, bytes.
pub(super) const LONGEST: usize = 128;

/// A Binding request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// Its transaction.
    pub(super) id: [u8; 12],
    /// USERNAME.
    pub(super) username: Option<&'a [u8]>,
    /// Its sender takes this pair (RFC 8445 §7.1.2).
    pub(super) use_candidate: bool,
    /// Its sender thinks that we are in control.
    pub(super) is_controlled: bool,
    /// Attributes that had to be understood.
    pub(super) unknown: [u16; MOST_UNKNOWN],
    /// The request up to MESSAGE-INTEGRITY, and that.
    integrity: Option<(&'a [u8], &'a [u8])>,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Where the request came from.
    Mapped(SocketAddr),
    /// Refused: 400 to 499.
    Refused(u16),
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// Reads a Binding request; `None`: it is another message, or none.
pub(super) fn read(datagram: &[u8]) -> Option<Request<'_>> {
    let (head, mut rest) = datagram.split_at_checked(HEADER)?;
    let len = usize::from(number(&head[2..]));
    if number(head) != REQUEST || head[4..8] != COOKIE || len != rest.len() || !len.is_multiple_of(4) {
        return None;
    }
    let mut request = Request {
        id: *head[8..].first_chunk()?,
        username: None,
        use_candidate: false,
        is_controlled: false,
        unknown: [0; MOST_UNKNOWN],
        integrity: None,
    };
    let mut unknown = request.unknown.iter_mut();
    while !rest.is_empty() {
        let before = &datagram[..datagram.len() - rest.len()];
        let (kind, len) = (number(rest.get(..2)?), usize::from(number(rest.get(2..4)?)));
        let value = rest.get(4..4 + len)?;
        rest = rest.get(4 + len.next_multiple_of(4)..)?;
        match kind {
            FINGERPRINT => {
                let sum = crc32fast::hash(before) ^ FINGERPRINT_MASK;
                // It is the last (RFC 8489 §14.7).
                return (value == sum.to_be_bytes() && rest.is_empty()).then_some(request);
            }
            // What follows MESSAGE-INTEGRITY is not protected by it (RFC 8489 §14.5).
            _ if request.integrity.is_some() => {}
            INTEGRITY => request.integrity = Some((before, value)),
            USERNAME => request.username = Some(value),
            USE_CANDIDATE => request.use_candidate = true,
            CONTROLLED => request.is_controlled = true,
            kind if kind < OPTIONAL && kind != PRIORITY => {
                if let Some(place) = unknown.next() {
                    *place = kind;
                }
            }
            _ => {}
        }
    }
    Some(request)
}

impl Request<'_> {
    /// Whether it has MESSAGE-INTEGRITY at all.
    pub(super) fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether its MESSAGE-INTEGRITY was made with this key.
    pub(super) fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some((before, value)) = self.integrity else { return false };
        // Compared in constant time, by ring.
        let signed = with_length(before, before.len() - HEADER + 24);
        hmac::verify(key, &signed, value).is_ok()
    }

    /// Writes the answer, signed with `key` unless the request's key is unknown; its length.
    pub(super) fn answer(&self, answer: Answer, key: Option<&hmac::Key>, out: &mut [u8; LONGEST]) -> usize {
        let mut text = Vec::with_capacity(LONGEST);
        let kind = if matches!(answer, Answer::Mapped(_)) { SUCCESS } else { FAILURE };
        text.extend_from_slice(&kind.to_be_bytes());
        text.extend_from_slice(&[0; 2]);
        text.extend_from_slice(&COOKIE);
        text.extend_from_slice(&self.id);
        match answer {
            Answer::Mapped(from) => attribute(&mut text, MAPPED, &self.mapped(from)),
            Answer::Refused(code) => {
                let [class, rest] = [code / 100, code % 100].map(|n| n as u8);
                attribute(&mut text, ERROR_CODE, &[0, 0, class, rest]);
                let unknown = self.unknown.iter().take_while(|kind| **kind != 0);
                let unknown: Vec<u8> = unknown.flat_map(|kind| kind.to_be_bytes()).collect();
                if code == 420 {
                    attribute(&mut text, UNKNOWN_ATTRIBUTES, &unknown);
                }
            }
        }
        if let Some(key) = key {
            let signed = with_length(&text, text.len() - HEADER + 24);
            attribute(&mut text, INTEGRITY, hmac::sign(key, &signed).as_ref());
        }
        let sum = crc32fast::hash(&with_length(&text, text.len() - HEADER + 8)) ^ FINGERPRINT_MASK;
        attribute(&mut text, FINGERPRINT, &sum.to_be_bytes());
        let text = with_length(&text, text.len() - HEADER);
        out[..text.len()].copy_from_slice(&text);
        text.len()
    }

    /// The value of XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    fn mapped(&self, from: SocketAddr) -> Vec<u8> {
        let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
        let mask: Vec<u8> = COOKIE.iter().chain(&self.id).copied().collect();
        let masked = |bytes: &[u8]| bytes.iter().zip(&mask).map(|(b, m)| b ^ m).collect::<Vec<u8>>();
        value.extend(masked(&from.port().to_be_bytes()));
        value.extend(match from.ip() {
            IpAddr::V4(ip) => masked(&ip.octets()),
            IpAddr::V6(ip) => masked(&ip.octets()),
        });
        value
    }
}

/// The message with another length in its header: what is signed is the message as it would be if it ended behind the signature.
fn with_length(message: &[u8], len: usize) -> Vec<u8> {
    let mut out = message.to_vec();
    out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    out
}

fn attribute(text: &mut Vec<u8>, kind: u16, value: &[u8]) {
    text.extend_from_slice(&kind.to_be_bytes());
    text.extend_from_slice(&(value.len() as u16).to_be_bytes());
    text.extend_from_slice(value);
    text.resize(text.len().next_multiple_of(4), 0);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// RFC 5769 §2.1.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\
        \x00\x06\x00\x09\x65\x76\x74\x6a\x3a\x68\x36\x76\x59\x20\x20\x20\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\
        \x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    pub(in super::super) fn key(password: &[u8]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password)
    }

    /// A request as a browser sends it.
    pub(in super::super) fn request(username: &[u8], password: &[u8], more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut text = [&REQUEST.to_be_bytes()[..], &[0, 0], &COOKIE, b"transaction."].concat();
        attribute(&mut text, USERNAME, username);
        for (kind, value) in more {
            attribute(&mut text, *kind, value);
        }
        let signed = with_length(&text, text.len() - HEADER + 24);
        attribute(&mut text, INTEGRITY, hmac::sign(&key(password), &signed).as_ref());
        text = with_length(&text, text.len() - HEADER + 8);
        let sum = crc32fast::hash(&text) ^ FINGERPRINT_MASK;
        attribute(&mut text, FINGERPRINT, &sum.to_be_bytes());
        text
    }

    #[test]
    fn the_sample_request_of_rfc_5769_is_read_and_authentic() {
        let request = read(SAMPLE).unwrap();
        assert_eq!(request.username, Some(&b"evtj:h6vY"[..]));
        assert!(request.is_controlled && !request.use_candidate && request.unknown == [0; MOST_UNKNOWN]);
        assert!(request.is_authentic(&key(PASSWORD)));
        assert!(!request.is_authentic(&key(b"another")));
        // Not FINGERPRINT's own kind: another attribute there is passed over.
        for at in (0..SAMPLE.len()).filter(|at| !(SAMPLE.len() - 8..SAMPLE.len() - 6).contains(at)) {
            let mut changed = SAMPLE.to_vec();
            changed[at] ^= 1;
            let taken = read(&changed).is_some_and(|r| r.is_authentic(&key(PASSWORD)));
            assert!(!taken, "byte {at} changed");
        }
    }

    #[test]
    fn answers_are_those_of_rfc_5769() {
        let request = read(SAMPLE).unwrap();
        let mut out = [0; LONGEST];
        for (address, mapped) in [
            ("192.0.2.1:32853", &b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"[..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
            ),
        ] {
            let address = Answer::Mapped(address.parse().unwrap());
            let len = request.answer(address, Some(&key(PASSWORD)), &mut out);
            assert_eq!(&out[HEADER..HEADER + mapped.len()], mapped);
            assert_eq!((number(&out), usize::from(number(&out[2..]))), (SUCCESS, len - HEADER));
            // It is signed as a request is.
            out[1] = 1;
            out[0] = 0;
            let sum = len - 8;
            let sum = crc32fast::hash(&out[..sum]) ^ FINGERPRINT_MASK;
            out[len - 4..len].copy_from_slice(&sum.to_be_bytes());
            assert!(read(&out[..len]).unwrap().is_signed());
        }
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let text = request(b"a:b", b"pass", &[(0x7777, b"x"), (0x8888, b"optional"), (USE_CANDIDATE, b"")]);
        let asked = read(&text).unwrap();
        assert!(asked.use_candidate && asked.is_authentic(&key(b"pass")));
        let mut out = [0; LONGEST];
        let len = asked.answer(Answer::Refused(420), None, &mut out);
        let named = b"\x00\x09\x00\x04\x00\x00\x04\x14\x00\x0a\x00\x02\x77\x77\x00\x00";
        assert!(out[..len].windows(named.len()).any(|w| w == named), "{:x?}", &out[..len]);
    }

    #[test]
    fn what_is_no_request_is_passed_over() {
        for cut in 0..SAMPLE.len() {
            assert_eq!(read(&SAMPLE[..cut]), None);
        }
        let mut longer = SAMPLE.to_vec();
        longer.push(0);
        assert_eq!(read(&longer), None);
    }
}
