//! How well a leg is heard, and hears: the E-model ([`media::emodel`]) both ways, from loss, jitter and round trip.

use crate::roster::{Hears, Quality};
use media::Report;
use media::emodel::{Path, opinion, rating};
use media::transport::Remote;
use prometheus_client::metrics::histogram::Histogram;

/// Scores of all legs, one for each report.
#[derive(Debug)]
pub struct Scores {
    /// Of what participants say.
    pub heard: Histogram,
    /// Of what they hear, where their reports tell.
    pub hears: Histogram,
}

impl Default for Scores {
    fn default() -> Self {
        // Bands of ITU-T G.107, table B.1.
        let bands = || Histogram::new([2.58, 3.1, 3.6, 4.03, 4.34]);
        Self { heard: bands(), hears: bands() }
    }
}

/// What is kept between two reports.
#[derive(Debug, Default)]
pub(super) struct Meter {
    expected: u64,
    lost: u64,
    concealed: u64,
    /// Loss of the last reports, exponentially weighted.
    loss: f32,
}

impl Meter {
    /// Takes a leg's report, and what its peer's reports said last.
    pub(super) fn take(&mut self, report: &Report, remote: &Remote, scores: &Scores) -> Option<Quality> {
        let block = report.block?;
        let expected = block.expected.saturating_sub(self.expected);
        // A packet that came too late to be played is as lost as one that never came: what was concealed counts.
        let concealed = report.jitter.concealed.saturating_sub(self.concealed);
        let mut lost = block.lost().saturating_sub(self.lost).max(concealed.min(expected));
        if report.codecs.0 == media::Codec::Opus {
            // What its forward error correction repairs is not lost.
            lost = concealed.min(expected);
        }
        (self.expected, self.lost, self.concealed) = (block.expected, block.lost(), report.jitter.concealed);
        if expected > 0 {
            let now = 100.0 * lost as f32 / expected as f32;
            self.loss = self.loss * 0.8 + now.min(100.0) * 0.2;
        }
        let jitter = block.jitter as f32 * 1000.0 / report.clock as f32;
        let path = Path { loss: self.loss, ..report.path(remote.round_trip) };
        let mos = opinion(rating(report.codecs.0, &path));
        scores.heard.observe(mos.into());
        let hears = hears(report, remote);
        hears.inspect(|hears| scores.hears.observe(hears.mos.into()));
        Some(Quality {
            mos: tenth(mos),
            loss: tenth(self.loss),
            jitter: jitter.round(),
            round_trip: remote.round_trip.map(|r| (r.as_secs_f32() * 1000.0).round()),
            hears,
        })
    }
}

/// How the participant hears, as far as their reports tell. Their own score counts more than ours (RFC 3611 §4.7.5).
fn hears(report: &Report, remote: &Remote) -> Option<Hears> {
    remote.last?;
    let loss = f32::from(remote.fraction_lost) * 100.0 / 256.0;
    let jitter = remote.jitter as f32 * 1000.0 / report.clock as f32;
    // Their buffer is at least as long as what they have to wait for.
    let delay = remote.round_trip.map_or(0.0, |r| r.as_secs_f32() * 500.0) + 40.0 + 2.0 * jitter;
    let ours = || opinion(rating(report.codecs.1, &Path { delay, loss, burst_ratio: 1.0 }));
    let theirs = remote.voip.and_then(|voip| voip.mos).map(|tenths| f32::from(tenths) / 10.0);
    Some(Hears { mos: tenth(theirs.unwrap_or_else(ours)), loss: tenth(loss), jitter: jitter.round() })
}

fn tenth(value: f32) -> f32 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::codec::FRAME;
    use media::leg::{Leg, LegSetup};
    use media::rtcp::Voip;
    use media::{Codec, LegId, Nanos, PayloadType};
    use std::net::SocketAddr;
    use std::time::Duration;

    /// A leg's report after so many packets, of which every `lost`th did not come.
    fn report(codec: Codec, packets: u16, lost: u16) -> Report {
        let from = SocketAddr::from(([192, 0, 2, 1], 4000));
        let mut leg =
            Leg::new(LegSetup::plain(LegId(1), codec, PayloadType(0), from), None, Nanos(0)).unwrap();
        let mut now = Nanos::millis(1_000);
        for n in 0..packets {
            now = Nanos(now.0 + 20_000_000);
            if lost == 0 || n % lost != 1 {
                let mut bytes =
                    [&[0x80, 0][..], &n.to_be_bytes(), &(u32::from(n) * 160).to_be_bytes(), &[0, 0, 0, 9]]
                        .concat();
                // Loud enough to be speech.
                bytes.extend((0..FRAME).map(|i| if i % 20 < 10 { 0x10 } else { 0x90 }));
                leg.receive(from, &mut bytes, now, now);
            }
            leg.playout(now);
        }
        leg.report(now)
    }

    #[test]
    fn what_is_heard_gets_worse_with_loss() {
        let scores = Scores::default();
        let take = |lost| {
            Meter::default().take(&report(Codec::Pcmu, 500, lost), &Remote::default(), &scores).unwrap()
        };
        let (clean, bad) = (take(0), take(10));
        assert!(clean.mos >= 4.3 && clean.loss == 0.0, "{clean:?}");
        // The first report counts for a fifth.
        assert!((1.5..2.5).contains(&bad.loss) && bad.mos < clean.mos, "{bad:?}");
        assert!(clean.hears.is_none() && clean.round_trip.is_none(), "nobody told");
    }

    #[test]
    fn what_the_peer_says_of_its_own_side_is_told() {
        let scores = Scores::default();
        let report = report(Codec::Pcmu, 50, 0);
        let remote = Remote {
            fraction_lost: 26,
            jitter: 80,
            round_trip: Some(Duration::from_millis(100)),
            last: Some(Nanos(1)),
            ..Remote::default()
        };
        let told = Meter::default().take(&report, &remote, &scores).unwrap();
        let hears = told.hears.unwrap();
        assert_eq!((told.round_trip, hears.loss, hears.jitter), (Some(100.0), 10.2, 10.0));
        assert!((2.8..3.6).contains(&hears.mos), "{hears:?}");
        let knows = Remote { voip: Some(Voip { rating: Some(50), mos: Some(26) }), ..remote };
        assert_eq!(Meter::default().take(&report, &knows, &scores).unwrap().hears.unwrap().mos, 2.6);
    }
}
