//! How well speech is heard: the E-model (ITU-T G.107) in its usual short form, from delay and loss, by codec.

use crate::codec::Codec;

/// What a network does to one direction of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Path {
    /// One-way delay from mouth to ear, ms.
    pub delay: f32,
    /// Frames that were lost or came too late, percent, 0 to 100.
    pub loss: f32,
    /// How much more they come together than by chance (G.107 §7.5), 1 and more.
    pub burst_ratio: f32,
}

/// How fast a codec's speech suffers from loss (G.107 §7.5, Bpl): the more, the less.
fn robustness(codec: Codec) -> f32 {
    match codec {
        // G.113, appendix I: G.711 with concealment.
        Codec::Pcmu | Codec::Pcma | Codec::L16 => 25.1,
        // G.113 has none for the others with concealment like ours. These fit the PESQ scores of docs/PERFORMANCE.md at 5 and 10 % loss; Opus' are those with
        // forward error correction, for frames that it repairs are not lost.
        Codec::G722 => 11.0,
        Codec::Opus => 12.0,
    }
}

/// The transmission rating factor R, 0 to 93.2.
pub fn rating(codec: Codec, path: &Path) -> f32 {
    let Path { delay, loss, burst_ratio } = *path;
    // G.107 §7.4 in its usual short form.
    let delayed = 0.024 * delay + if delay > 177.3 { 0.11 * (delay - 177.3) } else { 0.0 };
    let lost = 95.0 * loss / (loss / burst_ratio.max(1.0) + robustness(codec));
    (93.2 - delayed - lost).clamp(0.0, 100.0)
}

/// The mean opinion score of a rating, 1.0 to 4.5 (G.107, annex B).
pub fn opinion(rating: f32) -> f32 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mos(codec: Codec, delay: f32, loss: f32) -> f32 {
        opinion(rating(codec, &Path { delay, loss, burst_ratio: 1.0 }))
    }

    #[test]
    fn the_scale_is_g_107s() {
        assert!((mos(Codec::Pcmu, 20.0, 0.0) - 4.4).abs() < 0.05);
        assert!((3.9..4.3).contains(&mos(Codec::Pcmu, 20.0, 3.0)));
        assert!(mos(Codec::Pcmu, 400.0, 0.0) < 3.8 && mos(Codec::Pcmu, 20.0, 50.0) < 2.0);
    }

    #[test]
    fn codecs_suffer_from_loss_as_they_were_heard_to() {
        // Docs/PERFORMANCE.md: PESQ at 5 and 10 % loss, as parts of the clean score.
        for (codec, five, ten) in
            [(Codec::Pcmu, 0.85, 0.70), (Codec::G722, 0.77, 0.53), (Codec::Opus, 0.77, 0.57)]
        {
            let clean = mos(codec, 0.0, 0.0);
            for (loss, part) in [(5.0, five), (10.0, ten)] {
                let here = mos(codec, 0.0, loss) / clean;
                assert!((here - part).abs() < 0.08, "{codec:?} at {loss} %: {here} instead of {part}");
            }
        }
    }

    #[test]
    fn losses_that_come_together_are_worse() {
        let of = |burst_ratio| rating(Codec::Pcmu, &Path { delay: 50.0, loss: 5.0, burst_ratio });
        assert!(of(1.0) > of(2.0) && of(2.0) > of(4.0));
    }
}
