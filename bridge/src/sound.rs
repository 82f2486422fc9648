//! From what signalling agreed on to a leg's media.

use media::codec::opus::Settings;
use media::dtls::Role;
use media::ice::Credentials;
use media::leg::{Direction, LegSetup, Secure, Security};
use media::{Codec, Coding, LegId, PayloadType, Rate};
use sip_stack::sdp::{Capabilities, Encoding, LocalAudio, LocalKeys, OpusWish, Setup, Srtp};
use std::net::SocketAddr;

/// The most that is spent on Opus where the peer names no limit, bits in a second, and what packets are limited to anyway.
const USUAL_BITRATE: u32 = 24_000;
const MOST_BITRATE: u32 = 128_000;

/// What a site wants of its legs' sound beside what is agreed on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taste {
    /// Bits in a second of Opus where the peer names no limit; `None`: as is usual.
    pub opus_bitrate: Option<u32>,
    /// Every caller is brought to the usual loudness.
    pub agc: bool,
    /// Noise behind who speaks is taken away.
    pub noise_suppression: bool,
    /// Comfort noise is sent where nobody speaks.
    pub comfort_noise: bool,
}

/// Media's word for an encoding; `None`: it is no sound that we can make.
fn codec(encoding: Encoding) -> Option<Codec> {
    match encoding {
        Encoding::Opus => Some(Codec::Opus),
        Encoding::G722 => Some(Codec::G722),
        Encoding::Pcmu => Some(Codec::Pcmu),
        Encoding::Pcma => Some(Codec::Pcma),
        Encoding::L16 => Some(Codec::L16),
        Encoding::TelephoneEvent | Encoding::ComfortNoise | Encoding::Other => None,
    }
}

/// The highest of our rates that a peer can play.
fn rate(hz: u32) -> Rate {
    Rate::ALL.into_iter().rev().find(|r| r.hz() <= hz).unwrap_or_default()
}

/// How a stream is encoded for a peer that wants its Opus so.
fn coding(codec: Codec, wanted: &OpusWish, taste: &Taste) -> Coding {
    if codec != Codec::Opus {
        return Coding::of(codec);
    }
    let usual = taste.opus_bitrate.unwrap_or(USUAL_BITRATE);
    let bitrate = wanted.maxaveragebitrate.map_or(usual, |most| most.min(usual)).min(MOST_BITRATE);
    let opus = Settings { bitrate, fec: wanted.useinbandfec, dtx: wanted.usedtx, cbr: wanted.cbr };
    Coding { codec, rate: rate(wanted.maxplaybackrate), opus }
}

/// How packets are encrypted. `None`: they are to be, and nobody has keys.
fn security(audio: &LocalAudio) -> Option<Security> {
    if !audio.path.profile.is_secure() {
        return Some(Security::None);
    }
    if let Some(dtls) = audio.path.dtls {
        let role = if dtls.setup == Setup::Active { Role::Client } else { Role::Server };
        return Some(Security::Dtls { role, theirs: dtls.theirs? });
    }
    let Some(LocalKeys::Agreed { ours, theirs }) = audio.keys.as_deref() else { return None };
    Some(Security::Keys(Secure { suite: ours.suite, ours: ours.key, theirs: theirs.key }))
}

/// What we can do, by how much of it must be encrypted.
#[derive(Debug)]
pub struct Abilities {
    site: Srtp,
    all: [(Srtp, Capabilities); 3],
}

impl Abilities {
    /// What the site can do.
    pub fn new(site: Capabilities) -> Self {
        let all = [Srtp::Off, Srtp::Optional, Srtp::Required];
        Self { site: site.srtp, all: all.map(|srtp| (srtp, Capabilities { srtp, ..site.clone() })) }
    }

    /// What we can do towards a trunk that wants it so; `None`: as the site does.
    pub fn towards(&self, srtp: Option<Srtp>) -> &Capabilities {
        let wanted = srtp.unwrap_or(self.site);
        let found = self.all.iter().find(|(srtp, _)| *srtp == wanted);
        // All three are there.
        &found.unwrap_or(&self.all[0]).1
    }
}

/// A leg's media. `None`: nothing was agreed on that we can make.
pub fn setup(
    id: LegId,
    audio: &LocalAudio,
    remote: SocketAddr,
    direction: Direction,
    taste: &Taste,
) -> Option<LegSetup> {
    let (encoding, payload_type) = audio.codec;
    let mut receives = [None; Codec::ALL.len()];
    let listed = audio.listed.iter().flatten().filter_map(|(e, pt)| Some((codec(*e)?, PayloadType(*pt))));
    for (slot, listed) in receives.iter_mut().zip(listed) {
        *slot = Some(listed);
    }
    Some(LegSetup {
        id,
        sends: (coding(codec(encoding)?, &audio.wanted, taste), PayloadType(payload_type)),
        receives,
        opus_rate: rate(audio.opus.maxplaybackrate),
        events: audio.events().map(PayloadType),
        comfort: audio.comfort.map(PayloadType),
        sends_comfort: taste.comfort_noise,
        ptime: audio.ptime as usize,
        agc: taste.agc,
        noise_suppression: taste.noise_suppression,
        security: security(audio)?,
        ice: audio.path.ice.map(|ice| Credentials { ufrag: ice.ufrag, pwd: ice.pwd }),
        mux: audio.path.mux,
        levels: audio.path.levels,
        xr: audio.path.xr,
        direction,
        remote,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_stack::sdp::{answer, parse};

    #[test]
    fn opus_is_sent_as_the_peer_wants_it_and_the_site_can_afford() {
        let text = |fmtp: &str| {
            format!(
                "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 {fmtp}\r\n"
            )
        };
        for (fmtp, rate, bitrate, fec) in [
            ("useinbandfec=1", Rate::Full, 24_000, true),
            ("maxplaybackrate=16000;maxaveragebitrate=12000", Rate::Wide, 12_000, false),
            ("maxplaybackrate=12000;maxaveragebitrate=510000", Rate::Narrow, 24_000, false),
        ] {
            let offer = parse(text(fmtp).as_bytes()).unwrap();
            let (audio, theirs) = answer(&offer, &Capabilities::default(), false).unwrap();
            let taste = Taste::default();
            let setup = setup(LegId(1), &audio, theirs.rtp().unwrap(), Direction::BOTH, &taste).unwrap();
            let coding = setup.sends.0;
            assert_eq!((coding.rate, coding.opus.bitrate, coding.opus.fec), (rate, bitrate, fec), "{fmtp}");
            assert_eq!(setup.receives[0], Some((Codec::Opus, PayloadType(96))));
        }
    }
}
