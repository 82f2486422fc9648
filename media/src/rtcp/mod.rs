//! RTCP (RFC 3550 §6): sender and receiver reports, both ways, with a CNAME that says nothing (RFC 7022).

use crate::bursts::GMIN;
use crate::emodel::{Path, opinion, rating};
use crate::jitter;
use crate::leg::Report;
use crate::reception::Block;
use crate::units::{Nanos, RtpTime, Ssrc};
use bytes::Bytes;
use rtc_rtcp::extended_report::{ExtendedReport, VoIPMetricsReportBlock};
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::Packet;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use shared::marshal::Unmarshal;
use std::time::Duration;

/// Why a datagram is no acceptable compound packet (RFC 3550 A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("not an RTCP compound packet")]
pub struct RtcpFault;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const GOODBYE: u8 = 203;
const EXTENDED_REPORT: u8 = 207;
/// The kind of a VoIP metrics block, and its length in words without its head (RFC 3611 §4.7).
const VOIP_METRICS: u8 = 7;
const VOIP_WORDS: u16 = 8;
/// The largest compound packet that is read, bytes.
pub const LARGEST: usize = 1500;

/// What a peer's compound packet says about our stream and its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Middle 32 bits of the NTP time of its sender report, for our next LSR.
    pub sender_report: Option<u32>,
    /// Its view of our stream.
    pub about_us: Option<AboutUs>,
    /// How it says that we are heard.
    pub voip: Option<Voip>,
    /// It leaves.
    pub goodbye: bool,
}

/// What we take of VoIP metrics about our stream (RFC 3611 §4.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Voip {
    /// R factor, 0 to 100; `None`: it does not know.
    pub rating: Option<u8>,
    /// Conversational quality, tenths of MOS, 10 to 50; `None`: it does not know.
    pub mos: Option<u8>,
}

/// A reception report block about our stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AboutUs {
    /// Loss since its last report, 256ths.
    pub fraction_lost: u8,
    /// Interarrival jitter, clock units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of our last sender report that it has, 0 if none.
    pub lsr: u32,
    /// Time since it got that, 1/65536 s.
    pub dlsr: u32,
}

/// Reads a compound packet; blocks about other streams than `ours` are passed over.
///
/// # Errors
/// [`RtcpFault`] for whatever RFC 3550 A.2 tells to drop.
pub fn read(datagram: &[u8], ours: Ssrc) -> Result<Heard, RtcpFault> {
    if datagram.len() > LARGEST {
        return Err(RtcpFault);
    }
    let mut heard = Heard::default();
    let mut rest = datagram;
    let mut first = true;
    while !rest.is_empty() {
        let (head, _) = rest.split_first_chunk::<4>().ok_or(RtcpFault)?;
        let len = 4 * (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1);
        let (packet, next) = rest.split_at_checked(len).ok_or(RtcpFault)?;
        // Version 2; the first is a report without padding; padding only in the last.
        let padding = head[0] & 0x20 != 0;
        let is_report = matches!(head[1], SENDER_REPORT | RECEIVER_REPORT);
        if head[0] >> 6 != 2 || (first && (padding || !is_report)) || (padding && !next.is_empty()) {
            return Err(RtcpFault);
        }
        let mut reader = packet;
        match head[1] {
            SENDER_REPORT => {
                let report = SenderReport::unmarshal(&mut reader).map_err(|_| RtcpFault)?;
                heard.sender_report = Some((report.ntp_time >> 16) as u32);
                heard.about_us = about(&report.reports, ours).or(heard.about_us);
            }
            RECEIVER_REPORT => {
                let report = ReceiverReport::unmarshal(&mut reader).map_err(|_| RtcpFault)?;
                heard.about_us = about(&report.reports, ours).or(heard.about_us);
            }
            GOODBYE => heard.goodbye = true,
            EXTENDED_REPORT => heard.voip = voip(&packet[4..], ours).or(heard.voip),
            _ => {}
        }
        first = false;
        rest = next;
    }
    if first { Err(RtcpFault) } else { Ok(heard) }
}

/// VoIP metrics about our stream among an extended report's blocks, behind its head. What else there is is passed over.
fn voip(report: &[u8], ours: Ssrc) -> Option<Voip> {
    let mut rest = report.get(4..)?;
    loop {
        let (head, _) = rest.split_first_chunk::<4>()?;
        let words = u16::from_be_bytes([head[2], head[3]]);
        let (block, next) = rest.split_at_checked(4 + 4 * usize::from(words))?;
        if head[0] == VOIP_METRICS && words == VOIP_WORDS && block[4..8] == ours.0.to_be_bytes() {
            let known =
                |value: u8, range: std::ops::RangeInclusive<u8>| Some(value).filter(|v| range.contains(v));
            return Some(Voip { rating: known(block[24], 0..=100), mos: known(block[27], 10..=50) });
        }
        rest = next;
    }
}

fn about(blocks: &[ReceptionReport], ours: Ssrc) -> Option<AboutUs> {
    let block = blocks.iter().find(|b| b.ssrc == ours.0)?;
    Some(AboutUs {
        fraction_lost: block.fraction_lost,
        jitter: block.jitter,
        lsr: block.last_sender_report,
        dlsr: block.delay,
    })
}

/// NTP time (RFC 3550 §4) of a time since the Unix epoch.
pub fn ntp(at: Nanos) -> u64 {
    const EPOCHS: u64 = 2_208_988_800;
    let (seconds, nanos) = (at.0 / 1_000_000_000 + EPOCHS, at.0 % 1_000_000_000);
    (seconds << 32) | ((nanos << 32) / 1_000_000_000)
}

/// What writing a report needs besides the leg's figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Expected and received packets of the previous report.
    prior: (u64, u64),
    /// The peer's last sender report and when it came.
    last_sr: Option<(u32, Nanos)>,
}

impl Memory {
    /// Remembers a sender report of the peer.
    pub fn sender_report(&mut self, middle: u32, at: Nanos) {
        self.last_sr = Some((middle, at));
    }

    fn block(&mut self, block: &Block, now: Nanos) -> ReceptionReport {
        let (expected, received) = (block.expected, block.received);
        let new = expected.saturating_sub(self.prior.0);
        let lost = new.saturating_sub(received.saturating_sub(self.prior.1));
        self.prior = (expected, received);
        let since = |at| (now.since(at).max(0) as u64 * 65_536 / 1_000_000_000) as u32;
        ReceptionReport {
            ssrc: block.ssrc.0,
            fraction_lost: (lost * 256).checked_div(new).unwrap_or(0).min(255) as u8,
            total_lost: block.lost().min(0x7f_ffff) as u32,
            last_sequence_number: block.highest,
            jitter: block.jitter,
            last_sender_report: self.last_sr.map_or(0, |(middle, _)| middle),
            delay: self.last_sr.map_or(0, |(_, at)| since(at)),
        }
    }
}

/// Writes a compound packet from a leg's figures: SR when we sent since the last one, else RR; SDES with the
/// CNAME; VoIP metrics for a peer that wants them; BYE when the leg ends. `now` is wall-clock time.
pub fn write(
    report: &Report,
    sender: bool,
    memory: &mut Memory,
    cname: &str,
    now: Nanos,
    round_trip: Option<Duration>,
    bye: bool,
) -> Bytes {
    let reports: Vec<_> = report.block.iter().map(|b| memory.block(b, now)).collect();
    let ssrc = report.ssrc.0;
    // The timestamp that belongs to `now`, from the one that belonged to the report's moment.
    let elapsed = RtpTime(report.time.0)
        .plus((i128::from(now.since(report.at).max(0)) * i128::from(report.clock) / 1_000_000_000) as u32);
    let head: Box<dyn Packet> = if sender {
        Box::new(SenderReport {
            ssrc,
            ntp_time: ntp(now),
            rtp_time: elapsed.0,
            packet_count: report.packets_sent as u32,
            octet_count: report.octets_sent as u32,
            reports,
            profile_extensions: Bytes::new(),
        })
    } else {
        Box::new(ReceiverReport { ssrc, reports, profile_extensions: Bytes::new() })
    };
    let item = SourceDescriptionItem {
        sdes_type: SdesType::SdesCname,
        text: Bytes::copy_from_slice(cname.as_bytes()),
    };
    let chunk = SourceDescriptionChunk { source: ssrc, items: vec![item] };
    let mut packets = vec![head, Box::new(SourceDescription { chunks: vec![chunk] })];
    if let Some(block) = report.block.filter(|_| report.xr) {
        let reports: Vec<Box<dyn Packet>> = vec![Box::new(metrics(report, &block, round_trip))];
        packets.push(Box::new(ExtendedReport { sender_ssrc: ssrc, reports }));
    }
    if bye {
        // With a reason that fills its word: for an empty one the library pads in a way that Wireshark calls malformed.
        packets.push(Box::new(Goodbye { sources: vec![ssrc], reason: Bytes::from_static(b"end") }));
    }
    // Every part is of our own making and far below the size limits, so this cannot fail.
    rtc_rtcp::packet::marshal(&packets).map(bytes::BytesMut::freeze).unwrap_or_default()
}

/// How the peer is heard here (RFC 3611 §4.7).
fn metrics(report: &Report, block: &Block, round_trip: Option<Duration>) -> VoIPMetricsReportBlock {
    const UNKNOWN: u8 = 127;
    let part = |n: u64| (256 * n).checked_div(block.expected).unwrap_or(0).min(255) as u8;
    let ms = |nanos: u64| (nanos / 1_000_000).min(u64::from(u16::MAX)) as u16;
    let late = report.jitter.late + report.jitter.dropped;
    let path = report.path(round_trip);
    let codec = report.codecs.0;
    let tenths = |path: &Path| (10.0 * opinion(rating(codec, path))).round() as u8;
    let waits = ms(report.delay.0);
    VoIPMetricsReportBlock {
        ssrc: block.ssrc.0,
        loss_rate: part(block.lost()),
        discard_rate: part(late),
        burst_density: report.bursts.burst_density,
        gap_density: report.bursts.gap_density,
        burst_duration: report.bursts.burst_ms,
        gap_duration: report.bursts.gap_ms,
        round_trip_delay: round_trip.map_or(0, |r| ms(r.as_nanos() as u64)),
        // What waits here, and the tick in which it is mixed.
        end_system_delay: waits + 20,
        // A full sine is −3 dBov and 3.17 dBm0.
        signal_level: (report.level.0 + 6.0).clamp(-127.0, 3.0) as i8 as u8,
        noise_level: UNKNOWN,
        rerl: UNKNOWN,
        gmin: GMIN as u8,
        rfactor: rating(codec, &path).round() as u8,
        ext_rfactor: UNKNOWN,
        mos_lq: tenths(&Path { delay: 0.0, ..path }),
        mos_cq: tenths(&path),
        // Standard concealment, an adaptive buffer (§4.7.6).
        rx_config: 0b1111_0000,
        reserved: 0,
        jb_nominal: waits,
        jb_maximum: waits.max(jitter::LONGEST_MS),
        jb_abs_max: jitter::LONGEST_MS,
    }
}

/// Letters of a CNAME: with its head and the null behind it they fill their words. Where something is left the library writes how much, instead of
/// nulls (RFC 3550 §6.5), and some peers then take the whole packet for broken.
const CNAME: usize = 17;

/// A random CNAME of 102 bits (RFC 7022 §4.2: 96 at least): new for each session, and of no use to anybody.
pub fn random_cname() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: u128 = rand::random();
    (0..CNAME)
        .map(|_| {
            let c = ALPHABET[(bits & 63) as usize];
            bits >>= 6;
            char::from(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::Drops;
    use crate::level::Level;

    fn report(at: Nanos, block: Option<Block>) -> Report {
        Report {
            clock: 8000,
            codecs: (crate::Codec::Pcmu, crate::Codec::Pcmu),
            bursts: crate::bursts::Figures::default(),
            xr: false,
            delay: Nanos(0),
            at,
            ssrc: Ssrc(11),
            time: RtpTime(8000),
            packets_sent: 50,
            octets_sent: 8000,
            block,
            jitter: crate::jitter::Counters::default(),
            drops: Drops::default(),
            level: Level::SILENCE,
            locked: None,
            silent_for: Nanos(0),
        }
    }

    #[test]
    fn a_sender_report_is_read_back_with_its_block_and_times() {
        let block = Block { ssrc: Ssrc(22), expected: 200, received: 150, highest: 70_000, jitter: 9 };
        let mut memory = Memory::default();
        memory.sender_report(0x1234_5678, Nanos::millis(4_000));
        let bytes = write(
            &report(Nanos::millis(4_900), Some(block)),
            true,
            &mut memory,
            "abc",
            Nanos::millis(5_000),
            None,
            false,
        );
        let heard = read(&bytes, Ssrc(22)).unwrap();
        let about = heard.about_us.unwrap();
        assert_eq!((about.fraction_lost, about.jitter), (64, 9));
        assert_eq!((about.lsr, about.dlsr), (0x1234_5678, 65_536));
        assert_eq!(heard.sender_report, Some((ntp(Nanos::millis(5_000)) >> 16) as u32));
        let sr = SenderReport::unmarshal(&mut &bytes[..]).unwrap();
        assert_eq!(sr.rtp_time, 8800, "100 ms after the report's moment");
    }

    #[test]
    fn a_receiver_report_and_a_goodbye() {
        let mut memory = Memory::default();
        let bytes = write(&report(Nanos(0), None), false, &mut memory, &random_cname(), Nanos(0), None, true);
        assert_eq!(read(&bytes, Ssrc(1)).unwrap(), Heard { goodbye: true, ..Heard::default() });
    }

    #[test]
    fn nothing_but_nulls_follows_the_cname() {
        let cname = random_cname();
        let bytes =
            write(&report(Nanos(0), None), false, &mut Memory::default(), &cname, Nanos(0), None, false);
        let at = bytes.windows(CNAME).position(|w| w == cname.as_bytes()).unwrap();
        assert_eq!((bytes[at - 1], &bytes[at + CNAME..]), (CNAME as u8, &[0][..]));
    }

    #[test]
    fn cnames_are_random_and_as_long_as_rfc_7022_wants() {
        assert_eq!(random_cname().len(), CNAME);
        assert_ne!(random_cname(), random_cname());
    }

    #[test]
    fn garbage_is_refused() {
        let mut memory = Memory::default();
        let good = write(&report(Nanos(0), None), true, &mut memory, "x", Nanos(0), None, false);
        assert!(read(&good, Ssrc(1)).is_ok());
        for cut in 0..good.len() {
            // Cut at a packet's end it is a shorter compound packet; elsewhere it is garbage.
            let whole = cut == 28;
            assert_eq!(read(&good[..cut], Ssrc(1)).is_ok(), whole, "cut at {cut}");
        }
        for (at, value) in [(0, 0x40), (0, 0xa0), (1, 202), (3, 0xff), (0, 0x9f)] {
            let mut bad = good.to_vec();
            bad[at] = value;
            assert_eq!(read(&bad, Ssrc(1)), Err(RtcpFault), "byte {at} = {value:#x}");
        }
        assert_eq!(read(&[0x80; LARGEST + 1], Ssrc(1)), Err(RtcpFault));
    }

    #[test]
    fn how_a_peer_is_heard_is_told_to_who_wants_it() {
        let block = Block { ssrc: Ssrc(22), expected: 1000, received: 950, highest: 1000, jitter: 9 };
        let mut asked = Report { xr: true, ..report(Nanos(0), Some(block)) };
        (asked.jitter.concealed, asked.jitter.late, asked.delay) = (60, 10, Nanos::millis(40));
        asked.bursts =
            crate::bursts::Figures { burst_density: 128, gap_density: 4, burst_ms: 200, gap_ms: 4000 };
        let trip = Some(Duration::from_millis(80));
        let bytes = write(&asked, true, &mut Memory::default(), &random_cname(), Nanos(0), trip, false);
        // RFC 3611 §4.7, octet by octet, behind the report, its SDES and the XR's own head.
        let at = bytes.windows(2).position(|w| w == [0x80, EXTENDED_REPORT]).unwrap() + 8;
        let block = &bytes[at..at + 36];
        assert_eq!(block[..8], [7, 0, 0, 8, 0, 0, 0, 22]);
        assert_eq!(block[8..12], [12, 2, 128, 4], "lost, discarded, and how dense");
        assert_eq!(block[12..20], [0, 200, 0x0f, 0xa0, 0, 80, 0, 60], "how long, and delays");
        assert_eq!((block[20] as i8, &block[21..24]), (-121, &[127, 127, 16][..]));
        assert!(
            (40..75).contains(&block[24]) && block[25] == 127 && (20..40).contains(&block[27]),
            "{block:?}"
        );
        assert!(block[26] >= block[27], "delay makes it no better");
        let heard = read(&bytes, Ssrc(22)).unwrap();
        assert_eq!(heard.voip, Some(Voip { rating: Some(block[24]), mos: Some(block[27]) }));
        assert_eq!(read(&bytes, Ssrc(23)).unwrap().voip, None, "about another stream");
        let quiet = write(&report(Nanos(0), None), true, &mut Memory::default(), "x", Nanos(0), trip, false);
        assert!(!quiet.windows(2).any(|w| w == [0x80, EXTENDED_REPORT]));
        let mut unknown = bytes.to_vec();
        (unknown[at + 24], unknown[at + 27]) = (127, 127);
        assert_eq!(read(&unknown, Ssrc(22)).unwrap().voip, Some(Voip::default()));
        unknown[at + 3] = 200;
        assert_eq!(read(&unknown, Ssrc(22)).unwrap().voip, None, "a block beyond the end");
    }
}
