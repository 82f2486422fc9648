//! Offer and answer (RFC 3264) as functions of numbers.

use super::{
    Audio, Crypto, Direction, Dtls, Encoding, Format, LocalPath, OpusWish, Profile, Session, Setup, Suite,
};
use std::net::SocketAddr;
use vault::{Fingerprint, MasterKey, MediaKeys};

/// The suites of our own offers: what everybody has first (RFC 4568), then what is better. No carrier takes 32 bits of tag as its first choice.
pub const OFFERED_SUITES: [Suite; 3] = [Suite::Cm128Sha1_80, Suite::Gcm256, Suite::Gcm128];

/// Codecs in one description of ours at most.
pub const MOST_CODECS: usize = 5;

/// What this side can do.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Codecs, in the order of preference for our own offers; more than [`MOST_CODECS`] are passed over.
    pub codecs: Vec<Encoding>,
    /// Packet length used unless the peer wants another, ms.
    pub ptime: u32,
    /// What we want to get of Opus.
    pub opus: OpusWish,
    /// Comfort noise (RFC 3389) is in our offers. Where it is offered to us it is always taken.
    pub comfort_noise: bool,
    /// Whether packets may, must or cannot be encrypted.
    pub srtp: Srtp,
    /// Makes our keys; without it nothing is encrypted.
    pub keys: Option<MediaKeys>,
    /// What proves our certificate; without it there is no DTLS.
    pub fingerprint: Option<Fingerprint>,
}

/// Whether packets are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Srtp {
    /// Offers of SRTP are refused.
    Off,
    /// As the peer offers.
    #[default]
    Optional,
    /// Offers without SRTP are refused.
    Required,
}

impl Default for Capabilities {
    fn default() -> Self {
        let opus = OpusWish { useinbandfec: true, ..OpusWish::default() };
        let codecs = vec![Encoding::Opus, Encoding::G722, Encoding::Pcmu, Encoding::Pcma];
        Self {
            codecs,
            ptime: 20,
            opus,
            comfort_noise: false,
            srtp: Srtp::default(),
            keys: None,
            fingerprint: None,
        }
    }
}

/// Nothing in the offer (or answer) that both sides can do: 488.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no audio format in common")]
pub struct NotAcceptable;

/// Our side of the audio line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAudio {
    /// The codec in use and its payload type.
    pub codec: (Encoding, u8),
    /// Every codec that we list, for an offer of our own.
    pub listed: [Option<(Encoding, u8)>; MOST_CODECS],
    /// Telephone events by their clock, 8,000 or 48,000 Hz, when both sides have them.
    pub events: [Option<(u32, u8)>; 2],
    /// Comfort noise, when both sides have it.
    pub comfort: Option<u8>,
    /// How packets travel.
    pub path: LocalPath,
    /// Where descriptions carry keys. They are large, and most calls have none.
    pub keys: Option<Box<LocalKeys>>,
    /// What we want to get of Opus.
    pub opus: OpusWish,
    /// What they want to get of Opus.
    pub wanted: OpusWish,
    /// Packet length to send, ms.
    pub ptime: u32,
    /// Direction, as we see it.
    pub direction: Direction,
}

impl LocalAudio {
    /// The payload type of telephone events beside the codec in use: of its clock if there is one (RFC 4733 §2.1), else of the other.
    pub fn events(&self) -> Option<u8> {
        let clock = self.codec.0.clock();
        let all = || self.events.iter().flatten();
        all().find(|(c, _)| *c == clock).or_else(|| all().next()).map(|(_, pt)| *pt)
    }
}

/// Keys that descriptions carry (RFC 4568).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalKeys {
    /// Those of ours in an offer, one of which the answer takes.
    Offered([Option<Crypto>; OFFERED_SUITES.len()]),
    /// What both sides have agreed on.
    Agreed {
        /// Ours.
        ours: Crypto,
        /// Theirs.
        theirs: Crypto,
    },
}

impl LocalKeys {
    fn agreed(ours: Crypto, theirs: Crypto) -> Option<Box<Self>> {
        Some(Box::new(Self::Agreed { ours, theirs }))
    }

    /// Those of ours.
    fn ours(&self) -> impl Iterator<Item = &Crypto> {
        let (offered, agreed) = match self {
            Self::Offered(choices) => (&choices[..], None),
            Self::Agreed { ours, .. } => (&[][..], Some(ours)),
        };
        offered.iter().flatten().chain(agreed)
    }
}

/// A description of ours, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    let mut agreed = agree(audio, can)?;
    // The offerer's first that we can use, under its number (RFC 4568 §5.1.2).
    let theirs = audio.crypto.first().filter(|_| !audio.path.profile.is_dtls());
    agreed.path = LocalPath::answer(&audio.path, theirs.is_some(), can)?;
    if let Some(theirs) = theirs {
        let keys = can.keys.as_ref().ok_or(NotAcceptable)?;
        let key = keys.random(theirs.suite.master()).map_err(|_| NotAcceptable)?;
        agreed.keys = LocalKeys::agreed(Crypto { key, ..*theirs }, *theirs);
    }
    // RFC 3264 §8.4: 0.0.0.0 is the old way to say "do not send"; with ICE it is an address that is not known yet.
    let theirs = match audio.address {
        _ if audio.path.ice.is_some() => audio.direction,
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
    let mut agreed = agree(audio, can)?;
    agreed.path = ours.path.accept(&audio.path)?;
    if agreed.path.profile.is_secure() && agreed.path.dtls.is_none() {
        let both = |ours: Crypto| {
            let fits = |c: &&Crypto| (c.tag, c.suite) == (ours.tag, ours.suite);
            audio.crypto.iter().find(fits).map(|theirs| (ours, *theirs))
        };
        let offered = ours.keys.iter().flat_map(|keys| keys.ours());
        let (ours, theirs) = offered.copied().find_map(both).ok_or(NotAcceptable)?;
        agreed.keys = LocalKeys::agreed(ours, theirs);
    }
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
    let mut listed = [None; MOST_CODECS];
    for (slot, encoding) in listed.iter_mut().zip(&can.codecs) {
        *slot = Some((*encoding, encoding.payload_type()));
    }
    let has = |clock: u32| listed.iter().flatten().any(|(e, _)| e.clock() == clock);
    LocalAudio {
        codec: listed[0].unwrap_or((Encoding::Pcmu, 0)),
        listed,
        events: [Some((8_000, 101)), has(48_000).then_some((48_000, 110))],
        comfort: (can.comfort_noise && has(8_000)).then_some(Encoding::ComfortNoise.payload_type()),
        path: LocalPath { xr: true, ..LocalPath::default() },
        keys: None,
        opus: can.opus,
        wanted: OpusWish::default(),
        ptime: can.ptime,
        direction: Direction::SendRecv,
    }
}

impl LocalAudio {
    /// The same offer with a new key of each of these suites; of more than [`OFFERED_SUITES`] the rest is passed over. `None`: there is nothing
    /// that makes keys.
    #[must_use]
    pub fn secured(self, suites: &[Suite], can: &Capabilities) -> Option<Self> {
        let keys = can.keys.as_ref()?;
        let mut choices = [None; _];
        for (n, (place, suite)) in choices.iter_mut().zip(suites).enumerate() {
            let key = keys.random(suite.master()).ok()?;
            *place = Some(Crypto { tag: n as u32 + 1, suite: *suite, key });
        }
        let path = LocalPath { profile: Profile::Savp, ..self.path };
        Some(Self { keys: Some(Box::new(LocalKeys::Offered(choices))), path, ..self })
    }

    /// The same offer with keys by DTLS, and one port for RTP and RTCP. `None`: there is no certificate of ours.
    #[must_use]
    pub fn with_dtls(self, can: &Capabilities) -> Option<Self> {
        let dtls = Some(Dtls { setup: Setup::ActPass, ours: can.fingerprint?, theirs: None });
        Some(Self { path: LocalPath { profile: Profile::DtlsSavpf, dtls, mux: true, ..self.path }, ..self })
    }

    /// An offer of ours in a session that goes on: all that we can, by the way on which packets travel already.
    #[must_use]
    pub fn offered_again(&self, can: &Capabilities) -> Self {
        let again = |keys: &LocalKeys| match keys {
            LocalKeys::Agreed { ours, .. } => LocalKeys::Offered([Some(*ours), None, None]),
            LocalKeys::Offered(_) => keys.clone(),
        };
        let keys = self.keys.as_deref().map(|keys| Box::new(again(keys)));
        Self { keys, path: self.path.offered_again(), ..offer(can) }
    }

    /// Makes the answer to a later offer of the session that had `before` say what goes on: a peer that has changed nothing need not learn
    /// anything new of ours.
    ///
    /// # Errors
    /// [`NotAcceptable`]: the offer wants what a session must have from its beginning.
    pub fn keep(&mut self, before: &Self) -> Result<(), NotAcceptable> {
        if let Some(LocalKeys::Agreed { ours, theirs: old }) = before.keys.as_deref()
            && let Some(LocalKeys::Agreed { ours: new, theirs }) = self.keys.as_deref_mut()
            && old == theirs
        {
            new.key = ours.key;
        }
        self.path.keep(&before.path)
    }
}

fn agree(audio: &Audio, can: &Capabilities) -> Result<LocalAudio, NotAcceptable> {
    // Ours of Opus are 20 ms long.
    let fits = |f: &Format| f.encoding != Encoding::Opus || audio.maxptime.is_none_or(|most| most >= 20);
    let usable = |f: &&Format| can.codecs.contains(&f.encoding) && f.clock == f.encoding.clock() && fits(f);
    let codec = audio.formats.iter().find(usable).ok_or(NotAcceptable)?;
    let of = |encoding, clock| audio.formats.iter().find(move |f| f.encoding == encoding && f.clock == clock);
    let events = |clock| of(Encoding::TelephoneEvent, clock).map(|f| (clock, f.payload_type));
    let events = [events(codec.clock), None];
    // Some list events of one clock only, whatever they talk with.
    let events = if events[0].is_none() {
        [of(Encoding::TelephoneEvent, 8_000).map(|f| (8_000, f.payload_type)), None]
    } else {
        events
    };
    let comfort = of(Encoding::ComfortNoise, 8_000).filter(|_| codec.clock == 8_000).map(|f| f.payload_type);
    let longest = audio.maxptime.unwrap_or(60).clamp(10, 60) / 10 * 10;
    let wanted = audio.ptime.filter(|p| p % 10 == 0 && (10..=60).contains(p)).unwrap_or(can.ptime);
    let ptime = if codec.encoding == Encoding::Opus { 20 } else { wanted.min(longest) };
    let wanted = codec.opus;
    let codec = (codec.encoding, codec.payload_type);
    let mut listed = [None; MOST_CODECS];
    listed[0] = Some(codec);
    Ok(LocalAudio {
        codec,
        listed,
        events,
        comfort,
        path: LocalPath::default(),
        keys: None,
        opus: can.opus,
        wanted,
        ptime,
        direction: Direction::SendRecv,
    })
}

impl Local {
    /// Writes the description. `rejected` writes the m-line of a rejected stream, `key` a key in base64.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        mut rejected: impl FnMut(usize, &mut Vec<u8>),
        mut key: impl FnMut(&MasterKey, &mut Vec<u8>),
    ) {
        use std::io::Write;
        let family = if self.rtp.is_ipv4() { "IP4" } else { "IP6" };
        let ip = self.rtp.ip();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
            self.session, self.version
        );
        self.audio.path.write_session(out);
        for index in 0..self.place.1 {
            if index == self.place.0 {
                self.write_audio(out, &mut key);
            } else {
                rejected(index, out);
            }
        }
    }

    fn write_audio(&self, out: &mut Vec<u8>, key: &mut impl FnMut(&MasterKey, &mut Vec<u8>)) {
        use std::io::Write;
        let audio = &self.audio;
        let _ = write!(out, "m=audio {} {}", self.rtp.port(), audio.path.profile.name());
        for (_, payload_type) in audio.listed.iter().flatten() {
            let _ = write!(out, " {payload_type}");
        }
        for payload_type in audio.comfort.iter().chain(audio.events.iter().flatten().map(|(_, pt)| pt)) {
            let _ = write!(out, " {payload_type}");
        }
        out.extend_from_slice(b"\r\n");
        for crypto in audio.keys.iter().flat_map(|keys| keys.ours()) {
            let _ = write!(out, "a=crypto:{} {} inline:", crypto.tag, crypto.suite.name());
            key(&crypto.key, out);
            out.extend_from_slice(b"\r\n");
        }
        for (encoding, payload_type) in audio.listed.iter().flatten() {
            let _ = write!(out, "a=rtpmap:{payload_type} {}\r\n", encoding.map());
            if *encoding == Encoding::Opus {
                write_opus(out, *payload_type, &audio.opus);
            }
        }
        if let Some(payload_type) = audio.comfort {
            let _ = write!(out, "a=rtpmap:{payload_type} CN/8000\r\n");
        }
        for (clock, payload_type) in audio.events.iter().flatten() {
            let _ = write!(
                out,
                "a=rtpmap:{payload_type} telephone-event/{clock}\r\na=fmtp:{payload_type} 0-15\r\n"
            );
        }
        audio.path.write_stream(self.rtp, out);
        let _ = write!(out, "a=ptime:{}\r\na=maxptime:60\r\na={}\r\n", audio.ptime, audio.direction.as_str());
    }
}

/// What we want to get of Opus: one channel always.
fn write_opus(out: &mut Vec<u8>, payload_type: u8, wish: &OpusWish) {
    use std::io::Write;
    let _ = write!(out, "a=fmtp:{payload_type} useinbandfec={}", u8::from(wish.useinbandfec));
    if wish.usedtx {
        out.extend_from_slice(b";usedtx=1");
    }
    if wish.cbr {
        out.extend_from_slice(b";cbr=1");
    }
    if wish.maxplaybackrate < 48_000 {
        let _ = write!(out, ";maxplaybackrate={}", wish.maxplaybackrate);
    }
    if let Some(rate) = wish.maxaveragebitrate {
        let _ = write!(out, ";maxaveragebitrate={rate}");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
