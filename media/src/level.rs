//! How loud a frame is, and whether it is speech.

/// Loudness of a frame, dB relative to a full-scale square wave (dBov); −127 (silence) to 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Level(pub f32);

impl Level {
    /// Digital silence.
    pub const SILENCE: Self = Self(-127.0);

    /// The level of a frame.
    pub fn of(frame: &[i16]) -> Self {
        let energy: u64 = frame.iter().map(|s| u64::from(s.unsigned_abs()).pow(2)).sum();
        if energy == 0 || frame.is_empty() {
            return Self::SILENCE;
        }
        let mean = energy as f32 / frame.len() as f32;
        Self((10.0 * (mean / (32768.0 * 32768.0)).log10()).max(-127.0))
    }
}

/// Never louder than this is taken for background noise, however long it lasts.
const LOUDEST_NOISE: f32 = -47.0;
/// Quieter than this is never speech.
const QUIETEST_SPEECH: f32 = -52.0;
/// Speech stands out of the background by this much.
const MARGIN: f32 = 9.0;
/// Frames for which speech goes on after the last loud one: it bridges the gaps between syllables.
const HANGOVER: u16 = 15;

/// Speech detection for one talker: louder than an adaptive estimate of the background, with a hangover.
#[derive(Debug)]
pub struct SpeechDetector {
    noise: f32,
    hangover: u16,
    smooth: f32,
}

impl Default for SpeechDetector {
    fn default() -> Self {
        Self { noise: -65.0, hangover: 0, smooth: -127.0 }
    }
}

impl SpeechDetector {
    /// Takes the next frame's level; true while the talker speaks. The first loud frame counts at once, so that
    /// an onset is not cut.
    pub fn push(&mut self, level: Level) -> bool {
        let level = level.0;
        // Falls quickly to a quieter background, rises slowly (2.5 dB/s) to a louder one.
        self.noise = if level < self.noise { self.noise * 0.8 + level * 0.2 } else { self.noise + 0.05 }
            .clamp(-75.0, LOUDEST_NOISE);
        self.smooth = if level > self.smooth { level } else { self.smooth * 0.9 + level * 0.1 };
        if level > (self.noise + MARGIN).max(QUIETEST_SPEECH) {
            self.hangover = HANGOVER;
        } else {
            self.hangover = self.hangover.saturating_sub(1);
        }
        self.hangover > 0
    }

    /// A level that follows peaks and falls slowly: for choosing the loudest, and for meters.
    pub fn smooth(&self) -> Level {
        Level(self.smooth)
    }
}

/// The loudness to which speech is brought, dBov.
const USUAL: f32 = -24.0;
/// No gain is more than this, dB, either way.
const MOST_GAIN: f32 = 15.0;
/// How quickly gain follows, dB in a tick of speech: 4 dB/s up, 10 dB/s down.
const RISE: f32 = 0.08;
const FALL: f32 = 0.2;

/// Automatic gain for one talker: follows how loud their speech is over seconds, and stands still while they do not speak, so that it does not pump.
#[derive(Debug)]
pub struct Agc {
    /// Long-term level of the loud frames of speech, dBov; `None` before the first.
    speech: Option<f32>,
    /// dB.
    gain: f32,
}

impl Default for Agc {
    fn default() -> Self {
        Self { speech: None, gain: 0.0 }
    }
}

impl Agc {
    /// Takes a frame's level, and whether its leg speaks.
    pub fn push(&mut self, level: Level, speaks: bool) {
        let known = self.speech.unwrap_or(level.0);
        // Pauses within speech say nothing of how loud it is.
        if !speaks || level.0 < known - 12.0 || level.0 < QUIETEST_SPEECH {
            return;
        }
        // Louder counts at once, softer over two seconds.
        let weight = if level.0 > known { 0.2 } else { 0.01 };
        let speech = known + (level.0 - known) * weight;
        self.speech = Some(speech);
        let wanted = (USUAL - speech).clamp(-MOST_GAIN, MOST_GAIN);
        self.gain += (wanted - self.gain).clamp(-FALL, RISE);
    }

    /// The gain now, as a factor.
    pub fn gain(&self) -> f32 {
        10f32.powf(self.gain / 20.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_of_known_frames() {
        assert_eq!(Level::of(&[0; 160]), Level::SILENCE);
        assert!(Level::of(&[i16::MIN; 160]).0.abs() < 0.01);
        assert!((Level::of(&[3277; 160]).0 + 20.0).abs() < 0.01);
    }

    #[test]
    fn a_loud_frame_is_speech_at_once_and_for_the_hangover() {
        let mut detector = SpeechDetector::default();
        for _ in 0..50 {
            assert!(!detector.push(Level(-70.0)));
        }
        assert!(detector.push(Level(-25.0)));
        for _ in 0..HANGOVER - 1 {
            assert!(detector.push(Level(-70.0)));
        }
        assert!(!detector.push(Level(-70.0)));
    }

    #[test]
    fn steady_background_noise_is_not_speech_for_long_but_steady_loud_sound_is() {
        let mut detector = SpeechDetector::default();
        let quiet = (0..500).map(|_| detector.push(Level(-50.0))).filter(|s| *s).count();
        assert!(quiet < 500 && !detector.push(Level(-50.0)), "noise at -50 dBov: {quiet} frames");
        let mut detector = SpeechDetector::default();
        assert!((0..3000).all(|_| detector.push(Level(-30.0))));
    }

    #[test]
    fn soft_and_loud_talkers_come_to_the_same_loudness_without_pumping() {
        for said in [-36.0f32, -30.0, -12.0] {
            let mut agc = Agc::default();
            let mut gains = Vec::new();
            for n in 0..1500 {
                // Syllables of 160 ms with pauses of 80 between them, and a pause of a second every five.
                let speaks = n % 250 < 200;
                let level = if speaks && n % 12 < 8 { said + (n % 3) as f32 - 1.0 } else { -65.0 };
                agc.push(Level(level), speaks);
                gains.push(20.0 * agc.gain().log10());
            }
            let end = said + gains[gains.len() - 1];
            assert!((end - USUAL).abs() < 2.0, "{said} became {end}");
            for late in gains[750..].windows(50) {
                assert!((late[0] - late[49]).abs() < 1.0, "a second's change: {} to {}", late[0], late[49]);
            }
            for pair in gains.windows(2) {
                assert!((pair[0] - pair[1]).abs() <= FALL + 1e-3);
            }
        }
    }
}
