//! Reading a description: lenient in what does not matter, strict where a number would be wrong.

use super::{Audio, Crypto, Direction, Encoding, Format, LocalPath, OpusWish, Path, Profile, Session, Suite};
use crate::message::lexer::{decimal, trim};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vault::MasterKey;

/// The most m-lines in a description.
pub const MOST_LINES: usize = 16;
/// The most formats that are looked at in a line.
const MOST_FORMATS: usize = 32;

/// A description that cannot be used. The text is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a usable session description")]
pub struct SdpFault;

/// Formats with a fixed payload type (RFC 3551 §6).
fn fixed(payload_type: u8) -> (Encoding, u32) {
    match payload_type {
        0 => (Encoding::Pcmu, 8000),
        8 => (Encoding::Pcma, 8000),
        9 => (Encoding::G722, 8000),
        13 => (Encoding::ComfortNoise, 8000),
        _ => (Encoding::Other, 0),
    }
}

/// Reads a description in which keys do not matter: none is taken from it.
///
/// # Errors
/// As [`parse_sealing`].
pub fn parse(text: &[u8]) -> Result<Session, SdpFault> {
    parse_sealing(text, &mut |_| None)
}

/// The most keys that are looked at in a line.
const MOST_KEYS: usize = 8;

/// Seals a key that was read.
type Seal<'a> = dyn FnMut(&[u8]) -> Option<MasterKey> + 'a;

/// Reads a description. Its keys leave it sealed.
///
/// # Errors
/// [`SdpFault`] for what is not SDP, has no or too many m-lines, or numbers out of range.
pub fn parse_sealing(text: &[u8], seal: &mut Seal<'_>) -> Result<Session, SdpFault> {
    let mut lines = text.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    if lines.next() != Some(b"v=0") {
        return Err(SdpFault);
    }
    let mut session = Session { lines: 0, audio: None };
    let mut address = None;
    let mut direction = Direction::SendRecv;
    let (mut path, mut groups) = (Path::default(), Vec::new());
    // Whether attributes now belong to the audio line, to another line, or to the session.
    let mut place = Place::Session;
    for line in lines {
        if line.is_empty() {
            continue;
        }
        let [kind, b'=', value @ ..] = line else { return Err(SdpFault) };
        match (kind, place) {
            (b'm', _) => {
                if session.lines == MOST_LINES {
                    return Err(SdpFault);
                }
                let audio = audio_line(value, session.lines, address, direction, &path)?;
                place = Place::Elsewhere;
                if session.audio.is_none() && audio.is_some() {
                    session.audio = audio;
                    place = Place::Audio;
                }
                session.lines += 1;
            }
            (b'c', Place::Session) => address = connection(value)?,
            (b'c', Place::Audio) => {
                let here = connection(value)?;
                if let Some(audio) = &mut session.audio {
                    audio.address = here;
                }
            }
            (b'a', Place::Session) => {
                direction = direction_of(value).unwrap_or(direction);
                path.attribute(value);
                if let Some(group) = value.strip_prefix(b"group:") {
                    groups.push(group);
                }
            }
            (b'a', Place::Audio) => {
                if let Some(audio) = &mut session.audio {
                    attribute(audio, value, seal)?;
                }
            }
            _ => {}
        }
    }
    if session.lines == 0 {
        return Err(SdpFault);
    }
    if let Some(audio) = &mut session.audio {
        audio.path.bundled = groups.iter().any(|group| LocalPath::bundle_of(group, audio.path.mid));
    }
    Ok(session)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Session,
    Audio,
    Elsewhere,
}

/// An m-line: audio over RTP with a port, or `None` for one that is to be rejected.
fn audio_line(
    value: &[u8],
    index: usize,
    address: Option<IpAddr>,
    direction: Direction,
    path: &Path,
) -> Result<Option<Audio>, SdpFault> {
    let mut words = value.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let (media, port, proto) = match (words.next(), words.next(), words.next()) {
        (Some(media), Some(port), Some(proto)) => (media, port, proto),
        _ => return Err(SdpFault),
    };
    // `port/count` is for layered codings.
    let port = port.split(|b| *b == b'/').next().and_then(decimal).ok_or(SdpFault)?;
    let port = u16::try_from(port).map_err(|_| SdpFault)?;
    let Some(profile) = Profile::from_name(proto).filter(|_| media == b"audio" && port != 0) else {
        return Ok(None);
    };
    let mut formats = Vec::new();
    for word in words.take(MOST_FORMATS) {
        let payload_type = decimal(word).filter(|p| *p < 128).ok_or(SdpFault)? as u8;
        let (encoding, clock) = fixed(payload_type);
        formats.push(Format { payload_type, encoding, clock, opus: OpusWish::default() });
    }
    if formats.is_empty() {
        return Err(SdpFault);
    }
    let crypto = Vec::new();
    Ok(Some(Audio {
        index,
        path: Path::begin(path, profile),
        crypto,
        address,
        port,
        rtcp_port: None,
        formats,
        ptime: None,
        maxptime: None,
        direction,
    }))
}

/// `IN IP4 address[/ttl]`; a host name gives `None`.
fn connection(value: &[u8]) -> Result<Option<IpAddr>, SdpFault> {
    let words: Vec<_> = value.split(|b| *b == b' ').filter(|w| !w.is_empty()).collect();
    let [net, kind, address] = words[..] else { return Err(SdpFault) };
    let address = address.split(|b| *b == b'/').next().unwrap_or(address);
    let address = std::str::from_utf8(address).map_err(|_| SdpFault)?;
    match (net, kind) {
        (b"IN", b"IP4") => Ok(address.parse::<Ipv4Addr>().ok().map(Into::into)),
        (b"IN", b"IP6") => Ok(address.parse::<Ipv6Addr>().ok().map(Into::into)),
        _ => Err(SdpFault),
    }
}

fn direction_of(attribute: &[u8]) -> Option<Direction> {
    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
        .into_iter()
        .find(|d| d.as_str().as_bytes() == attribute)
}

fn attribute(audio: &mut Audio, value: &[u8], seal: &mut Seal<'_>) -> Result<(), SdpFault> {
    if let Some(direction) = direction_of(value) {
        audio.direction = direction;
    } else if let Some(map) = value.strip_prefix(b"rtpmap:") {
        rtpmap(audio, map)?;
    } else if let Some(line) = value.strip_prefix(b"crypto:") {
        if audio.path.profile.is_secure() && audio.crypto.len() < MOST_KEYS {
            // What we cannot use is passed over (RFC 4568 §5.1.2).
            audio.crypto.extend(crypto(line, seal));
        }
    } else if let Some(parameters) = value.strip_prefix(b"fmtp:") {
        fmtp(audio, parameters);
    } else if let Some(ptime) = value.strip_prefix(b"ptime:") {
        audio.ptime = milliseconds(ptime);
    } else if let Some(ptime) = value.strip_prefix(b"maxptime:") {
        audio.maxptime = milliseconds(ptime);
    } else if let Some(rtcp) = value.strip_prefix(b"rtcp:") {
        let port = rtcp.split(|b| *b == b' ').next().and_then(decimal).ok_or(SdpFault)?;
        audio.rtcp_port = Some(u16::try_from(port).map_err(|_| SdpFault)?);
    } else {
        audio.path.attribute(value);
    }
    Ok(())
}

/// Some peers write fractions; what is no whole number of milliseconds is no wish.
fn milliseconds(value: &[u8]) -> Option<u32> {
    decimal(trim(value)).filter(|ms| (1..=1000).contains(ms))
}

fn rtpmap(audio: &mut Audio, map: &[u8]) -> Result<(), SdpFault> {
    let space = map.iter().position(|b| *b == b' ').ok_or(SdpFault)?;
    let payload_type = decimal(&map[..space]).filter(|p| *p < 128).ok_or(SdpFault)? as u8;
    let mut parts = trim(&map[space..]).split(|b| *b == b'/');
    let (name, clock) = (parts.next().unwrap_or_default(), parts.next().and_then(decimal).ok_or(SdpFault)?);
    let channels = parts.next().unwrap_or(b"1");
    let mono = channels == b"1";
    let encoding = match () {
        () if name.eq_ignore_ascii_case(b"PCMU") && clock == 8000 && mono => Encoding::Pcmu,
        () if name.eq_ignore_ascii_case(b"PCMA") && clock == 8000 && mono => Encoding::Pcma,
        () if name.eq_ignore_ascii_case(b"G722") && clock == 8000 && mono => Encoding::G722,
        () if name.eq_ignore_ascii_case(b"opus") && clock == 48_000 && channels == b"2" => Encoding::Opus,
        () if name.eq_ignore_ascii_case(b"L16") && clock == 16_000 && mono => Encoding::L16,
        () if name.eq_ignore_ascii_case(b"telephone-event") => Encoding::TelephoneEvent,
        () if name.eq_ignore_ascii_case(b"CN") => Encoding::ComfortNoise,
        () => Encoding::Other,
    };
    // A fixed payload type keeps its meaning (RFC 3551 §3): an rtpmap may only repeat it.
    if let Some(format) = audio.formats.iter_mut().find(|f| f.payload_type == payload_type)
        && fixed(payload_type).0 == Encoding::Other
    {
        *format = Format { payload_type, encoding, clock, opus: format.opus };
    }
    Ok(())
}

/// `tag suite inline:key[|lifetime] …` (RFC 4568 §9.1). A key with an identifier (MKI), several keys, and parameters that change what packets look like
/// are nothing for us.
fn crypto(line: &[u8], seal: &mut Seal<'_>) -> Option<Crypto> {
    let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let tag = words.next().and_then(decimal)?;
    let name = words.next()?;
    let suite = Suite::ALL.into_iter().find(|s| name.eq_ignore_ascii_case(s.name().as_bytes()))?;
    let key = words.next()?.strip_prefix(b"inline:")?;
    let optional = |word: &[u8]| word.starts_with(b"-") || word.starts_with(b"WSH=");
    if !words.all(optional) {
        return None;
    }
    let mut parts = key.split(|b| *b == b'|');
    let text = parts.next()?;
    // A lifetime of packets is no call's concern; an identifier has a colon.
    if parts.any(|part| part.contains(&b':')) || text.contains(&b';') {
        return None;
    }
    let mut raw = [0u8; 48];
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let len = STANDARD_NO_PAD.decode_slice(&text[..end], &mut raw).ok()?;
    (len == suite.master()).then(|| seal(&raw[..len])).flatten().map(|key| Crypto { tag, suite, key })
}

/// Parameters of a format: those of Opus, read for every format, as `rtpmap` may come after them. What is no such parameter is passed over.
fn fmtp(audio: &mut Audio, value: &[u8]) {
    let mut parts = value.splitn(2, |b| *b == b' ');
    let payload_type = parts.next().and_then(decimal);
    let Some(format) = audio.formats.iter_mut().find(|f| Some(u32::from(f.payload_type)) == payload_type)
    else {
        return;
    };
    for pair in parts.next().unwrap_or_default().split(|b| *b == b';') {
        let mut pair = trim(pair).splitn(2, |b| *b == b'=');
        let (name, number) = (pair.next().unwrap_or_default(), pair.next().and_then(decimal));
        let Some(number) = number else { continue };
        let wish = &mut format.opus;
        match name {
            b"maxplaybackrate" => wish.maxplaybackrate = number.clamp(8_000, 48_000),
            b"maxaveragebitrate" => wish.maxaveragebitrate = Some(number.clamp(6_000, 510_000)),
            b"useinbandfec" => wish.useinbandfec = number == 1,
            b"usedtx" => wish.usedtx = number == 1,
            b"cbr" => wish.cbr = number == 1,
            _ => {}
        }
    }
}

/// The m-line that rejects line `index` of an offer: the same media, protocol and first format, port 0 (RFC 3264 §6).
pub fn rejected_line(offer: &[u8], index: usize, out: &mut Vec<u8>) {
    let line = offer
        .split(|b| *b == b'\n')
        .filter_map(|l| l.strip_suffix(b"\r").unwrap_or(l).strip_prefix(b"m="))
        .nth(index)
        .unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let media = words.next().unwrap_or(b"audio");
    let (_, proto) = (words.next(), words.next().unwrap_or(b"RTP/AVP"));
    let format = words.next().unwrap_or(b"0");
    for part in [&b"m="[..], media, b" 0 ", proto, b" ", format, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
