//! Offer and answer (RFC 3264) as functions of numbers.

use super::{Audio, Direction, Encoding, Format, Session};
use std::net::SocketAddr;

/// What this side can do.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Codecs, in the order of preference for our own offers. All have a clock of 8000 Hz.
    pub codecs: Vec<Encoding>,
    /// Packet length used unless the peer wants another, ms.
    pub ptime: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { codecs: vec![Encoding::Pcmu, Encoding::Pcma], ptime: 20 }
    }
}

/// Nothing in the offer (or answer) that both sides can do: 488.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no audio format in common")]
pub struct NotAcceptable;

/// Our side of the audio line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAudio {
    /// The codec in use and its payload type.
    pub codec: (Encoding, u8),
    /// Every codec that we list, for an offer of our own.
    pub listed: [Option<(Encoding, u8)>; 4],
    /// Telephone events, when both sides have them.
    pub events: Option<u8>,
    /// Packet length to send, ms.
    pub ptime: u32,
    /// Direction, as we see it.
    pub direction: Direction,
}

/// A description of ours, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// o= session id.
    pub session: u64,
    /// o= version.
    pub version: u64,
    /// Where we receive RTP.
    pub rtp: SocketAddr,
    /// The audio line.
    pub audio: LocalAudio,
    /// Place of the audio line, and number of lines in all.
    pub place: (usize, usize),
}

/// Answers an offer: the offerer's first codec that we have, telephone events of the same clock, their packet
/// length if we can make it.
///
/// # Errors
/// [`NotAcceptable`] without a common codec.
pub fn answer<'a>(
    offer: &'a Session,
    can: &Capabilities,
    held: bool,
) -> Result<(LocalAudio, &'a Audio), NotAcceptable> {
    let audio = offer.audio.as_ref().ok_or(NotAcceptable)?;
    let agreed = agree(audio, can)?;
    // RFC 3264 §8.4: 0.0.0.0 is the old way to say "do not send".
    let theirs = match audio.address {
        Some(a) if a.is_unspecified() && audio.direction == Direction::SendRecv => Direction::SendOnly,
        Some(a) if a.is_unspecified() => Direction::Inactive,
        _ => audio.direction,
    };
    let mut direction = theirs.mirrored();
    if held {
        direction = if direction.sends() { Direction::SendOnly } else { Direction::Inactive };
    }
    Ok((LocalAudio { direction, ..agreed }, audio))
}

/// What an answer to our offer makes of it.
///
/// # Errors
/// [`NotAcceptable`] when the answer rejects the line or lists nothing that we offered.
pub fn accept_answer<'a>(
    ours: &LocalAudio,
    answer: &'a Session,
    can: &Capabilities,
) -> Result<(LocalAudio, &'a Audio), NotAcceptable> {
    let audio = answer.audio.as_ref().ok_or(NotAcceptable)?;
    let agreed = agree(audio, can)?;
    let both = |ours: bool, theirs: bool| ours && theirs;
    let theirs = audio.direction;
    let direction = match (
        both(ours.direction.sends(), theirs.receives()),
        both(ours.direction.receives(), theirs.sends()),
    ) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    };
    Ok((LocalAudio { direction, ..agreed }, audio))
}

/// Our own offer.
pub fn offer(can: &Capabilities) -> LocalAudio {
    let mut listed = [None; 4];
    for (slot, encoding) in listed.iter_mut().zip(&can.codecs) {
        *slot = Some((*encoding, if *encoding == Encoding::Pcma { 8 } else { 0 }));
    }
    LocalAudio {
        codec: listed[0].unwrap_or((Encoding::Pcmu, 0)),
        listed,
        events: Some(101),
        ptime: can.ptime,
        direction: Direction::SendRecv,
    }
}

fn agree(audio: &Audio, can: &Capabilities) -> Result<LocalAudio, NotAcceptable> {
    let usable = |f: &&Format| f.clock == 8000 && can.codecs.contains(&f.encoding);
    let codec = audio.formats.iter().find(usable).ok_or(NotAcceptable)?;
    let events =
        audio.formats.iter().find(|f| f.encoding == Encoding::TelephoneEvent && f.clock == codec.clock);
    let longest = audio.maxptime.unwrap_or(60).clamp(10, 60) / 10 * 10;
    let wanted = audio.ptime.filter(|p| p % 10 == 0 && (10..=60).contains(p)).unwrap_or(can.ptime);
    let codec = (codec.encoding, codec.payload_type);
    Ok(LocalAudio {
        codec,
        listed: [Some(codec), None, None, None],
        events: events.map(|f| f.payload_type),
        ptime: wanted.min(longest),
        direction: Direction::SendRecv,
    })
}

impl Local {
    /// Writes the description. `rejected` writes the m-line of a rejected stream.
    pub fn write(&self, out: &mut Vec<u8>, mut rejected: impl FnMut(usize, &mut Vec<u8>)) {
        use std::io::Write;
        let family = if self.rtp.is_ipv4() { "IP4" } else { "IP6" };
        let ip = self.rtp.ip();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
            self.session, self.version
        );
        for index in 0..self.place.1 {
            if index == self.place.0 {
                self.write_audio(out);
            } else {
                rejected(index, out);
            }
        }
    }

    fn write_audio(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        let audio = &self.audio;
        let _ = write!(out, "m=audio {} RTP/AVP", self.rtp.port());
        let formats = || {
            let events = audio.events.map(|pt| (Encoding::TelephoneEvent, pt));
            audio.listed.iter().copied().flatten().chain(events)
        };
        for (_, payload_type) in formats() {
            let _ = write!(out, " {payload_type}");
        }
        out.extend_from_slice(b"\r\n");
        for (encoding, payload_type) in formats() {
            let _ = write!(out, "a=rtpmap:{payload_type} {}/8000\r\n", encoding.as_str());
            if encoding == Encoding::TelephoneEvent {
                let _ = write!(out, "a=fmtp:{payload_type} 0-15\r\n");
            }
        }
        let _ = write!(out, "a=ptime:{}\r\na=maxptime:60\r\na={}\r\n", audio.ptime, audio.direction.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, rejected_line};
    use super::*;

    const OFFER: &str = "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=call\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=video 5000 RTP/AVP 31\r\na=inactive\r\n\
        m=audio 4000 RTP/AVP 18 8 0 96 101\r\na=rtpmap:96 telephone-event/48000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\na=sendonly\r\n\
        m=audio 4002 RTP/AVP 0\r\n";

    #[test]
    fn the_first_common_codec_of_the_offerer_is_chosen() {
        let offer = parse(OFFER.as_bytes()).unwrap();
        let (local, theirs) = answer(&offer, &Capabilities::default(), false).unwrap();
        assert_eq!(local.codec, (Encoding::Pcma, 8));
        assert_eq!(local.events, Some(101), "the one with the codec's clock");
        assert_eq!((local.ptime, local.direction), (30, Direction::RecvOnly));
        assert_eq!((theirs.index, offer.lines), (1, 3));
        assert_eq!(theirs.rtcp().unwrap().port(), 4001);
    }

    #[test]
    fn second_lines_are_refused_with_port_0_in_their_place() {
        let offer = parse(OFFER.as_bytes()).unwrap();
        let (audio, theirs) = answer(&offer, &Capabilities::default(), false).unwrap();
        let rtp = ([127, 0, 0, 1], 30_000).into();
        let local = Local { session: 1, version: 2, rtp, audio, place: (theirs.index, offer.lines) };
        let mut text = Vec::new();
        local.write(&mut text, |i, out| rejected_line(OFFER.as_bytes(), i, out));
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(lines, ["m=video 0 RTP/AVP 31", "m=audio 30000 RTP/AVP 8 101", "m=audio 0 RTP/AVP 0"]);
        let back = parse(text.as_bytes()).unwrap();
        assert_eq!(back.audio.unwrap().direction, Direction::RecvOnly);
    }

    #[test]
    fn hold_in_each_spelling_stops_our_sending() {
        for (line, connection, expected) in [
            ("a=sendonly", "192.0.2.1", Direction::RecvOnly),
            ("a=inactive", "192.0.2.1", Direction::Inactive),
            ("a=sendrecv", "0.0.0.0", Direction::RecvOnly),
            ("a=recvonly", "192.0.2.1", Direction::SendOnly),
            ("a=recvonly", "0.0.0.0", Direction::Inactive),
            ("a=x", "192.0.2.1", Direction::SendRecv),
        ] {
            let text = format!("v=0\r\nc=IN IP4 {connection}\r\nm=audio 4000 RTP/AVP 0\r\n{line}\r\n");
            let offer = parse(text.as_bytes()).unwrap();
            let (local, _) = answer(&offer, &Capabilities::default(), false).unwrap();
            assert_eq!(local.direction, expected, "{line} {connection}");
        }
    }

    #[test]
    fn no_common_codec_is_not_acceptable() {
        for media in
            ["audio 4000 RTP/AVP 18", "audio 4000 RTP/SAVP 0", "video 4000 RTP/AVP 0", "audio 0 RTP/AVP 0"]
        {
            let text = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm={media}\r\n");
            let offer = parse(text.as_bytes()).unwrap();
            assert_eq!(
                answer(&offer, &Capabilities::default(), false).unwrap_err(),
                NotAcceptable,
                "{media}"
            );
        }
    }

    #[test]
    fn our_offer_can_be_answered() {
        let can = Capabilities::default();
        let ours = offer(&can);
        let rtp = ("2001:db8::1".parse::<std::net::IpAddr>().unwrap(), 30_000).into();
        let local = Local { session: 1, version: 1, rtp, audio: ours, place: (0, 1) };
        let mut text = Vec::new();
        local.write(&mut text, |_, _| {});
        let seen = parse(&text).unwrap();
        assert_eq!(seen.audio.as_ref().unwrap().rtp(), Some(rtp));
        let (theirs, _) =
            answer(&seen, &Capabilities { codecs: vec![Encoding::Pcma], ptime: 20 }, false).unwrap();
        let reply = Local { session: 3, version: 1, rtp, audio: theirs, place: (0, 1) };
        let mut text = Vec::new();
        reply.write(&mut text, |_, _| {});
        let (agreed, _) = accept_answer(&ours, &parse(&text).unwrap(), &can).unwrap();
        assert_eq!((agreed.codec, agreed.events), ((Encoding::Pcma, 8), Some(101)));
    }

    #[test]
    fn what_is_no_description() {
        for bad in [
            "",
            "v=1\r\nm=audio 1 RTP/AVP 0",
            "v=0\r\n",
            "v=0\r\nm=audio",
            "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
            "v=0\r\nm=audio 4000 RTP/AVP 200\r\n",
            "v=0\r\nm=audio 4000 RTP/AVP\r\n",
            "v=0\r\nc=IN IP4\r\nm=audio 4000 RTP/AVP 0\r\n",
            "v=0\r\ngarbage\r\n",
            "v=0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let many = format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(17));
        assert!(parse(many.as_bytes()).is_err());
    }
}
