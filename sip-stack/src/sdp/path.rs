//! How a stream's packets travel, beside what is in them: its profile, DTLS (RFC 5763), ICE (RFC 8839), one port for all (RFC 5761, RFC 8843),
//! and what goes with them.

use super::answer::{Capabilities, NotAcceptable, Srtp};
use crate::message::lexer::decimal;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::SocketAddr;
use vault::Fingerprint;

vault::leaves! {
    /// The transport of an m-line.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Profile {
        /// `RTP/AVP` (RFC 3551)
        #[default]
        Avp,
        /// `RTP/AVPF` (RFC 4585)
        Avpf,
        /// `RTP/SAVP` (RFC 3711)
        Savp,
        /// `RTP/SAVPF` (RFC 5124)
        Savpf,
        /// `UDP/TLS/RTP/SAVP` (RFC 5764)
        DtlsSavp,
        /// `UDP/TLS/RTP/SAVPF`: browsers.
        DtlsSavpf,
    }

    /// Who begins with DTLS (RFC 4145 §4).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Setup {
        /// Its sender does.
        Active,
        /// The other does.
        Passive,
        /// Either, as the answer says.
        ActPass,
    }

    /// A stream's name within its description (RFC 5888), of at most nine letters, digits and the like: what browsers number their streams with.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Mid {
        letters: u128,
    }

    /// How the peer's packets travel.
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub struct Path {
        /// The m-line's transport.
        pub profile: Profile,
        /// What proves its certificate.
        pub fingerprint: Option<Fingerprint>,
        /// Who begins with DTLS.
        pub setup: Option<Setup>,
        /// ICE: a number that changes when it begins anew.
        pub ice: Option<u64>,
        /// It is an ICE-lite agent as we are.
        pub ice_lite: bool,
        /// RTCP by the same port.
        pub mux: bool,
        /// The stream's name.
        pub mid: Option<Mid>,
        /// It is in the description's bundle.
        pub bundled: bool,
        /// The number under which it wants levels of who speaks (RFC 6465).
        pub levels: Option<u8>,
        /// It wants to be told how it is heard (RFC 3611, VoIP metrics).
        pub xr: bool,
    }
}

impl Profile {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf, Self::DtlsSavp, Self::DtlsSavpf];

    /// Its name in an m-line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::DtlsSavp => "UDP/TLS/RTP/SAVP",
            Self::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// By its name in an m-line.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name().as_bytes() == name)
    }

    /// Whether packets are encrypted.
    pub const fn is_secure(self) -> bool {
        !matches!(self, Self::Avp | Self::Avpf)
    }

    /// Whether their keys come by DTLS and no other way.
    pub const fn is_dtls(self) -> bool {
        matches!(self, Self::DtlsSavp | Self::DtlsSavpf)
    }
}

impl Setup {
    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }
}

/// The most letters of a stream's name: with more of them it is left without one, and is answered as RFC 5888 has it for who does not know names.
const LONGEST_MID: usize = 9;

impl Mid {
    /// Reads a token (RFC 8866 §9).
    fn parse(text: &[u8]) -> Option<Self> {
        let fits = (1..=LONGEST_MID).contains(&text.len());
        let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"-_.+".contains(b);
        let letters = text.iter().fold(0, |all, b| all << 8 | u128::from(*b));
        (fits && text.iter().all(is_token)).then_some(Self { letters })
    }

    fn write(self, out: &mut Vec<u8>) {
        let bytes = self.letters.to_be_bytes();
        out.extend(bytes.into_iter().skip_while(|b| *b == 0));
    }
}

impl Path {
    /// Takes a session's or a stream's attribute. What it is none of is passed over.
    pub(super) fn attribute(&mut self, value: &[u8]) {
        let of = |name: &str| value.strip_prefix(name.as_bytes());
        if value == b"rtcp-mux" {
            self.mux = true;
        } else if value == b"ice-lite" {
            self.ice_lite = true;
        } else if let Some(text) = of("ice-ufrag:").or(of("ice-pwd:")) {
            // Both change when ICE begins anew (RFC 8839 §4.4.1.1.1).
            let mut hasher = DefaultHasher::new();
            (self.ice, text).hash(&mut hasher);
            self.ice = Some(hasher.finish());
        } else if let Some(text) = of("fingerprint:") {
            // The first that we can check (RFC 8122 §5.1: all are of one certificate).
            self.fingerprint = self.fingerprint.or(Fingerprint::parse(text));
        } else if let Some(text) = of("setup:") {
            let all = [Setup::Active, Setup::Passive, Setup::ActPass];
            self.setup = all.into_iter().find(|s| s.name().as_bytes() == text).or(self.setup);
        } else if let Some(text) = of("mid:") {
            self.mid = Mid::parse(text);
        } else if let Some(text) = of("extmap:") {
            let mut words = text.split(|b| *b == b' ');
            // `1/recvonly` (RFC 8285 §5); numbers above 14 need the other form of header.
            let id = words.next().and_then(|w| decimal(w.split(|b| *b == b'/').next().unwrap_or(w)));
            if words.next() == Some(LEVELS) {
                self.levels = id.filter(|id| (1..=14).contains(id)).map(|id| id as u8);
            }
        } else if let Some(text) = of("rtcp-xr:") {
            self.xr = text.split(|b| *b == b' ').any(|w| w == b"voip-metrics");
        }
    }

    /// What holds for a stream unless it says otherwise.
    pub(super) fn begin(session: &Self, profile: Profile) -> Self {
        let Self { fingerprint, setup, ice, ice_lite, .. } = *session;
        Self { profile, fingerprint, setup, ice, ice_lite, ..Self::default() }
    }
}

/// RFC 6465 §3.
const LEVELS: &[u8] = b"urn:ietf:params:rtp-hdrext:csrc-audio-level";

/// What we tell of ourselves for ICE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ice {
    /// `ice-ufrag`
    pub ufrag: [u8; 8],
    /// `ice-pwd`
    pub pwd: [u8; 24],
    /// Theirs, as a number.
    theirs: u64,
}

impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ice(..)")
    }
}

impl Ice {
    /// New credentials (RFC 8445 §5.3: 24 and 128 bits at least).
    fn new(theirs: u64) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let letter = |byte: u8| ALPHABET[usize::from(byte & 63)];
        Self {
            ufrag: rand::random::<[u8; 8]>().map(letter),
            pwd: rand::random::<[u8; 24]>().map(letter),
            theirs,
        }
    }
}

/// Our side of DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtls {
    /// Who begins, as we say it.
    pub setup: Setup,
    /// What proves our certificate.
    pub ours: Fingerprint,
    /// What proves theirs; `None` in an offer of ours.
    pub theirs: Option<Fingerprint>,
}

/// How our packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalPath {
    /// The m-line's transport.
    pub profile: Profile,
    /// Where keys come by DTLS.
    pub dtls: Option<Dtls>,
    /// Where they use ICE.
    pub ice: Option<Ice>,
    /// RTCP by the same port.
    pub mux: bool,
    pub(super) mid: Option<Mid>,
    pub(super) bundled: bool,
    /// The number under which they want levels of who speaks.
    pub levels: Option<u8>,
    /// They want to be told how they are heard.
    pub xr: bool,
}

impl LocalPath {
    /// Answers an offer. `keyed`: its description has keys that we use (RFC 4568).
    ///
    /// # Errors
    /// [`NotAcceptable`]: encrypted, and no keys are to be had; or not encrypted, and it must be.
    pub(super) fn answer(theirs: &Path, keyed: bool, can: &Capabilities) -> Result<Self, NotAcceptable> {
        let secure = theirs.profile.is_secure();
        if (secure && can.srtp == Srtp::Off) || (!secure && can.srtp == Srtp::Required) {
            return Err(NotAcceptable);
        }
        let mut dtls = None;
        if secure && !keyed {
            let (ours, fingerprint) = can.fingerprint.zip(theirs.fingerprint).ok_or(NotAcceptable)?;
            // Whoever may leaves it to them: they know where we are (RFC 5763 §5 would have the answerer begin, who with ICE-lite does not know where to).
            let setup = if theirs.setup == Some(Setup::Passive) { Setup::Active } else { Setup::Passive };
            dtls = Some(Dtls { setup, ours, theirs: Some(fingerprint) });
        }
        // One component: ICE goes with one port for RTP and RTCP. Two lite agents need no checks (RFC 8445 §6.1.1).
        let ice = theirs.ice.filter(|_| theirs.mux && !theirs.ice_lite).map(Ice::new);
        let Path { profile, mux, mid, bundled, levels, xr, .. } = *theirs;
        Ok(Self { profile, dtls, ice, mux, mid, bundled, levels, xr })
    }

    /// What an answer to our offer makes of it.
    ///
    /// # Errors
    /// [`NotAcceptable`]: other security than was offered.
    pub(super) fn accept(&self, theirs: &Path) -> Result<Self, NotAcceptable> {
        if self.profile.is_secure() != theirs.profile.is_secure() {
            return Err(NotAcceptable);
        }
        let dtls = match self.dtls {
            None => None,
            Some(ours) => {
                let setup = match theirs.setup {
                    Some(Setup::Active) => Setup::Passive,
                    Some(Setup::Passive) => Setup::Active,
                    _ => return Err(NotAcceptable),
                };
                let fingerprint = theirs.fingerprint.ok_or(NotAcceptable)?;
                Some(Dtls { setup, theirs: Some(fingerprint), ..ours })
            }
        };
        let mux = self.mux && theirs.mux;
        Ok(Self { dtls, mux, ice: self.ice.filter(|_| theirs.ice.is_some()), xr: theirs.xr, ..*self })
    }

    /// The same for an offer of ours in a session that goes on (RFC 8842 §5.3: either may begin anew, and nobody does).
    #[must_use]
    pub(super) fn offered_again(self) -> Self {
        let dtls = self.dtls.map(|dtls| Dtls { setup: Setup::ActPass, theirs: None, ..dtls });
        Self { dtls, ..self }
    }

    /// Makes the answer to a later offer of the session that had `before` say what goes on.
    ///
    /// # Errors
    /// [`NotAcceptable`]: the offer wants what a leg must have from its beginning.
    pub(super) fn keep(&mut self, before: &Self) -> Result<(), NotAcceptable> {
        let had_asides = before.mux || before.ice.is_some() || before.dtls.is_some();
        if !had_asides {
            if self.dtls.is_some() {
                return Err(NotAcceptable);
            }
            (self.mux, self.ice) = (false, None);
        }
        if let (Some(ice), Some(old)) = (&mut self.ice, before.ice)
            && ice.theirs == old.theirs
        {
            *ice = old;
        }
        if let (Some(dtls), Some(old)) = (&mut self.dtls, before.dtls)
            && dtls.theirs == old.theirs
        {
            // The association goes on, whoever may begin another (RFC 8842 §5.5).
            dtls.setup = old.setup;
        }
        Ok(())
    }

    /// Writes the session's attributes.
    pub(super) fn write_session(&self, out: &mut Vec<u8>) {
        if self.ice.is_some() {
            out.extend_from_slice(b"a=ice-lite\r\n");
        }
        if let (Some(mid), true) = (self.mid, self.bundled) {
            out.extend_from_slice(b"a=group:BUNDLE ");
            mid.write(out);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes the stream's attributes; it is received at `rtp`.
    pub(super) fn write_stream(&self, rtp: SocketAddr, out: &mut Vec<u8>) {
        if let Some(mid) = self.mid {
            out.extend_from_slice(b"a=mid:");
            mid.write(out);
            out.extend_from_slice(b"\r\n");
        }
        if self.mux {
            out.extend_from_slice(b"a=rtcp-mux\r\n");
        }
        // Writing into memory does not fail.
        if let Some(Ice { ufrag, pwd, .. }) = &self.ice {
            for (name, text) in [("ice-ufrag", &ufrag[..]), ("ice-pwd", &pwd[..])] {
                let _ = write!(out, "a={name}:");
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            // One host candidate, of the highest priority (RFC 8445 §5.1.2.1).
            let (ip, port) = (rtp.ip(), rtp.port());
            let _ =
                write!(out, "a=candidate:1 1 UDP 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n");
        }
        if let Some(Dtls { setup, ours, .. }) = &self.dtls {
            let _ = write!(out, "a=fingerprint:{ours}\r\na=setup:{}\r\n", setup.name());
        }
        if let Some(id) = self.levels {
            let _ = write!(out, "a=extmap:{id}/sendonly ");
            out.extend_from_slice(LEVELS);
            out.extend_from_slice(b"\r\n");
        }
        if self.xr {
            out.extend_from_slice(b"a=rtcp-xr:voip-metrics\r\n");
        }
    }

    /// Whether it is in the description's group that this attribute names.
    pub(super) fn bundle_of(group: &[u8], mid: Option<Mid>) -> bool {
        let mut words = group.split(|b| *b == b' ').filter(|w| !w.is_empty());
        words.next() == Some(b"BUNDLE") && mid.is_some() && words.any(|word| Mid::parse(word) == mid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Local, answer, parse};
    use super::*;
    use crate::sdp::{Direction, accept_answer, offer};
    use vault::{MediaKeys, Policy, Vault};

    /// As a browser writes it.
    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=extmap-allow-mixed\r\n\
        a=msid-semantic: WMS\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n\
        a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:hSBb\r\na=ice-pwd:oN9rmGJv1BHwOJYZZmHYZYuS\r\na=ice-options:trickle\r\n\
        a=fingerprint:sha-256 BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD\r\n\
        a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
        a=extmap:5/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level\r\na=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
        a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

    fn can() -> Capabilities {
        let keys = MediaKeys::new(&Vault::open(Policy::AllowWeaker).unwrap()).unwrap();
        let fingerprint = Some(Fingerprint::of(b"our certificate"));
        Capabilities { keys: Some(keys), fingerprint, ..Capabilities::default() }
    }

    fn written(audio: crate::sdp::LocalAudio) -> String {
        let local =
            Local { session: 1, version: 1, rtp: ([192, 0, 2, 2], 4000).into(), audio, place: (0, 1) };
        let mut out = Vec::new();
        local.write(&mut out, |_, _| {}, |_, _| {});
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_browsers_offer_is_answered_with_dtls_ice_and_one_port() {
        let offer = parse(OFFER.as_bytes()).unwrap();
        let (audio, theirs) = answer(&offer, &can(), false).unwrap();
        assert_eq!(audio.direction, Direction::SendRecv, "its address is not known yet, which is no hold");
        assert_eq!(theirs.path.fingerprint, Some(Fingerprint::of(b"abc")));
        let text = written(audio);
        let (session, stream) = text.split_once("m=").unwrap();
        assert!(session.contains("a=ice-lite\r\n") && session.contains("a=group:BUNDLE 0\r\n"), "{text}");
        assert!(stream.starts_with("audio 4000 UDP/TLS/RTP/SAVPF 111 110\r\n"), "{text}");
        for line in [
            "a=mid:0\r\n",
            "a=rtcp-mux\r\n",
            "a=setup:passive\r\n",
            "a=candidate:1 1 UDP 2130706431 192.0.2.2 4000 typ host\r\n",
            "a=extmap:5/sendonly urn:ietf:params:rtp-hdrext:csrc-audio-level\r\n",
            &format!("a=fingerprint:{}\r\n", Fingerprint::of(b"our certificate")),
        ] {
            assert!(stream.contains(line), "{line} in {text}");
        }
        let back = parse(text.as_bytes()).unwrap().audio.unwrap().path;
        assert!(back.ice.is_some() && back.ice_lite && back.mux && back.bundled && !back.xr);
        assert_eq!(back.setup, Some(Setup::Passive));
    }

    #[test]
    fn what_the_peer_does_not_have_we_do_not_use() {
        let can = can();
        let answered = |from: &str, to: &str| {
            let offer = parse(OFFER.replace(from, to).as_bytes()).unwrap();
            answer(&offer, &can, false).map(|(audio, _)| audio.path)
        };
        assert!(answered("a=rtcp-mux\r\n", "").unwrap().ice.is_none(), "ICE for one component alone");
        assert!(answered("a=ice-ufrag", "a=ice-lite\r\na=ice-ufrag").unwrap().ice.is_none(), "both lite");
        assert!(answered("a=ice-", "a=x-").unwrap().dtls.is_some(), "DTLS without ICE");
        let setup = |to| answered("actpass", to).unwrap().dtls.unwrap().setup;
        assert_eq!((setup("active"), setup("passive")), (Setup::Passive, Setup::Active));
        for (from, to) in [("a=fingerprint", "a=x"), ("sha-256", "sha-1")] {
            assert_eq!(answered(from, to), Err(NotAcceptable), "no way to know who it is");
        }
        for long in ["a=mid:sdparta_00", "a=mid:a b", "a=mid:", "a=mid:Ü"] {
            let path = answered("a=mid:0", long).unwrap();
            assert!(path.mid.is_none() && !path.bundled, "{long}");
        }
        assert!(answered("a=mid:0", "a=mid:1").unwrap().mid.is_some(), "named, but not in the bundle");
        let plain = answered("UDP/TLS/RTP/SAVPF", "RTP/AVPF").unwrap();
        assert!(plain.dtls.is_none() && plain.profile == Profile::Avpf);
        for (srtp, profile) in [(Srtp::Off, "UDP/TLS/RTP/SAVPF"), (Srtp::Required, "RTP/AVP")] {
            let can = Capabilities { srtp, ..can.clone() };
            let offer = parse(OFFER.replace("UDP/TLS/RTP/SAVPF", profile).as_bytes()).unwrap();
            assert_eq!(answer(&offer, &can, false).unwrap_err(), NotAcceptable);
        }
        let without = Capabilities { fingerprint: None, ..can.clone() };
        assert!(answer(&parse(OFFER.as_bytes()).unwrap(), &without, false).is_err());
    }

    #[test]
    fn a_session_that_goes_on_keeps_its_credentials_and_one_that_begins_anew_gets_others() {
        let can = can();
        let first = answer(&parse(OFFER.as_bytes()).unwrap(), &can, false).unwrap().0;
        let again = |text: &str| {
            let (mut audio, _) = answer(&parse(text.as_bytes()).unwrap(), &can, false).unwrap();
            audio.keep(&first).map(|()| audio.path)
        };
        assert_eq!(again(OFFER), Ok(first.path));
        assert_eq!(again(&OFFER.replace("actpass", "passive")), Ok(first.path), "no new association");
        let restarted = again(&OFFER.replace("hSBb", "other")).unwrap();
        assert!(restarted.ice != first.path.ice && restarted.dtls == first.path.dtls);
        let other = again(&OFFER.replace("BA:78", "BA:79").replace("actpass", "passive")).unwrap();
        assert_eq!(other.dtls.unwrap().setup, Setup::Active);
        // Who began as a plain telephone stays one.
        let plain = OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP").replace("a=rtcp-mux\r\n", "");
        let before = answer(&parse(plain.as_bytes()).unwrap(), &can, false).unwrap().0;
        let (mut later, _) = answer(&parse(OFFER.as_bytes()).unwrap(), &can, false).unwrap();
        assert_eq!(later.keep(&before), Err(NotAcceptable));
        let muxed = OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
        let (mut later, _) = answer(&parse(muxed.as_bytes()).unwrap(), &can, false).unwrap();
        assert!(later.keep(&before).is_ok() && !later.path.mux && later.path.ice.is_none());
    }

    #[test]
    fn our_own_offer_of_dtls_is_answered_with_it_or_not_at_all() {
        let can = can();
        let ours = offer(&can).with_dtls(&can).unwrap();
        let text = written(ours.clone());
        assert!(text.contains("UDP/TLS/RTP/SAVPF") && text.contains("a=setup:actpass\r\n"), "{text}");
        let (theirs, _) = answer(&parse(text.as_bytes()).unwrap(), &can, false).unwrap();
        let reply = written(theirs);
        let agreed = |reply: &str| {
            accept_answer(&ours, &parse(reply.as_bytes()).unwrap(), &can).map(|(audio, _)| audio.path)
        };
        let path = agreed(&reply).unwrap();
        assert_eq!(path.dtls.map(|d| (d.setup, d.theirs)), Some((Setup::Active, can.fingerprint)));
        assert!(path.mux);
        for (from, to) in [("passive", "actpass"), ("a=fingerprint", "a=x"), ("UDP/TLS/RTP/SAVPF", "RTP/AVP")]
        {
            assert_eq!(agreed(&reply.replace(from, to)), Err(NotAcceptable), "{to}");
        }
        let again = ours.path.offered_again();
        assert_eq!(again.dtls.map(|d| (d.setup, d.theirs)), Some((Setup::ActPass, None)));
    }
}
