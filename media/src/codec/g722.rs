//! G.722 at 64 kbit/s (ITU-T G.722 11/88): two sub-bands of ADPCM behind a quadrature mirror filter. 16 kHz in 8 bits for two samples.
//!
//! RTP counts its time in units of 8 kHz all the same (RFC 3551 §4.5.2). The state is a plain value, so that one stream can be gone
//! on with by another encoder.

/// Decision levels of the lower band's 6-bit quantiser (table 14).
const LEVELS_LOW: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121,
    1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// What its inverses give for 6 bits (for hearing) and for the upper 4 of them (for adapting).
const INVERSE_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
const INVERSE_4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const INVERSE_2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Steps of the logarithmic scale factors.
const SCALE_LOW: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
const SCALE_HIGH: [i32; 4] = [798, -214, 798, -214];
const INVERSE_LOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

fn limit(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// One band's predictor and scale (blocks 3 and 4 of the recommendation, under its names).
#[derive(Debug, Clone)]
struct Band {
    s: i32,
    sz: i32,
    r: [i32; 2],
    p: [i32; 2],
    a: [i32; 2],
    b: [i32; 6],
    d: [i32; 6],
    scale: i32,
    step: i32,
}

impl Band {
    fn new(step: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 2], p: [0; 2], a: [0; 2], b: [0; 6], d: [0; 6], scale: 0, step }
    }

    /// Adapts the scale factor (LOGSCL, SCALEL and their like of the upper band).
    fn rescale(&mut self, by: i32, most: i32, shift: i32) {
        self.scale = (((self.scale * 127) >> 7) + by).clamp(0, most);
        let mantissa = INVERSE_LOG[(self.scale >> 6) as usize & 31];
        let exponent = shift - (self.scale >> 11);
        self.step = (if exponent < 0 { mantissa << -exponent } else { mantissa >> exponent }) << 2;
    }

    /// Takes the quantised difference `d` and predicts the next sample.
    fn adapt(&mut self, d: i32) {
        let r = limit(self.s + d);
        let p = limit(self.sz + d);
        let same = |x: i32, y: i32| (x < 0) == (y < 0);
        // UPPOL2, UPPOL1
        let wd = limit(self.a[0] << 2);
        let wd = if same(p, self.p[0]) { -wd } else { wd }.min(32_767);
        let a2 = (if same(p, self.p[1]) { 128 } else { -128 }) + (wd >> 7) + ((self.a[1] * 32_512) >> 15);
        let a2 = a2.clamp(-12_288, 12_288);
        let a1 = (if same(p, self.p[0]) { 192 } else { -192 }) + ((self.a[0] * 32_640) >> 15);
        let most = 15_360 - a2;
        let a1 = limit(a1).clamp(-most, most);
        // UPZERO
        let gain = if d == 0 { 0 } else { 128 };
        for (b, past) in self.b.iter_mut().zip(self.d) {
            let toward = if same(d, past) { gain } else { -gain };
            *b = limit(toward + ((*b * 32_640) >> 15));
        }
        // DELAYA
        self.d.rotate_right(1);
        self.d[0] = d;
        self.r = [r, self.r[0]];
        self.p = [p, self.p[0]];
        self.a = [a1, a2];
        // FILTEP, FILTEZ, PREDIC
        let filter = |a: i32, x: i32| (a * limit(x + x)) >> 15;
        let sp = limit(filter(a1, self.r[0]) + filter(a2, self.r[1]));
        self.sz = limit(self.b.iter().zip(self.d).map(|(b, d)| filter(*b, d)).sum());
        self.s = limit(sp + self.sz);
    }

    /// Adapts the lower band by the upper 4 bits of its code.
    fn low(&mut self, code: usize) {
        let d = (self.step * INVERSE_4[code]) >> 15;
        self.rescale(SCALE_LOW[code], 18_432, 8);
        self.adapt(d);
    }

    /// Adapts the upper band by its code; gives the difference.
    fn high(&mut self, code: usize) -> i32 {
        let d = (self.step * INVERSE_2[code]) >> 15;
        self.rescale(SCALE_HIGH[code], 22_528, 10);
        self.adapt(d);
        d
    }
}

/// The mirror filter's memory: 24 samples.
#[derive(Debug, Clone, Default)]
struct Mirror([i32; 24]);

impl Mirror {
    fn push(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.0.copy_within(2.., 0);
        (self.0[22], self.0[23]) = (first, second);
        let (mut even, mut odd) = (0, 0);
        for (i, c) in MIRROR.iter().enumerate() {
            even += self.0[2 * i] * c;
            odd += self.0[2 * i + 1] * MIRROR[11 - i];
        }
        (even, odd)
    }
}

/// The encoder's state.
#[derive(Debug, Clone)]
pub struct Encoder {
    mirror: Mirror,
    low: Band,
    high: Band,
}

/// The decoder's state.
#[derive(Debug, Clone)]
pub struct Decoder {
    mirror: Mirror,
    low: Band,
    high: Band,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { mirror: Mirror::default(), low: Band::new(32), high: Band::new(8) }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { mirror: Mirror::default(), low: Band::new(32), high: Band::new(8) }
    }
}

impl Encoder {
    /// Encodes pairs of samples of 16 kHz, a byte each; an odd one at the end is passed over.
    pub fn encode(&mut self, pcm: &[i16], out: &mut [u8]) {
        for (pair, byte) in pcm.as_chunks::<2>().0.iter().zip(out) {
            let (even, odd) = self.mirror.push(pair[0].into(), pair[1].into());
            *byte = self.pair((even + odd) >> 14, (odd - even) >> 14);
        }
    }

    fn pair(&mut self, low: i32, high: i32) -> u8 {
        let e = limit(low - self.low.s);
        let size = if e >= 0 { e } else { -(e + 1) };
        let step = self.low.step;
        let place = LEVELS_LOW.iter().skip(1).take_while(|level| size >= (**level * step) >> 12).count() + 1;
        // ILN and ILP: 63, 62, 31, 30, … 4 below zero, 61, 60, … 32 above.
        let low = match (e < 0, place) {
            (true, 1 | 2) => 64 - place,
            (true, _) => 34 - place,
            (false, _) => 62 - place,
        };
        self.low.low(low >> 2);
        let e = limit(high - self.high.s);
        let size = if e >= 0 { e } else { -(e + 1) };
        let far = size >= (564 * self.high.step) >> 12;
        let high = match (e < 0, far) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.high.high(high);
        (high << 6 | low) as u8
    }
}

impl Decoder {
    /// Decodes bytes to two samples of 16 kHz each.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) {
        for (byte, pair) in payload.iter().zip(out.as_chunks_mut::<2>().0) {
            let (low, high) = (usize::from(byte & 63), usize::from(byte >> 6));
            let within = |x: i32| x.clamp(-16_384, 16_383);
            let heard_low = within(self.low.s + ((self.low.step * INVERSE_6[low]) >> 15));
            self.low.low(low >> 2);
            let predicted = self.high.s;
            let heard_high = within(predicted + self.high.high(high));
            let (even, odd) = self.mirror.push(heard_low + heard_high, heard_low - heard_high);
            *pair = [limit(odd >> 11) as i16, limit(even >> 11) as i16];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
        bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn both_ways_agree_to_the_bit_with_another_implementation() {
        let mut state = 1u32;
        let pcm: Vec<i16> = (0..8000)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (((state >> 16) as i32 - 32_768) >> (n / 1000)) as i16
            })
            .collect();
        let (mut bytes, mut heard) = (vec![0; pcm.len() / 2], vec![0; pcm.len()]);
        Encoder::default().encode(&pcm, &mut bytes);
        Decoder::default().decode(&bytes, &mut heard);
        // What ffmpeg 5.1 makes of the same samples, and of its own bytes.
        assert_eq!(fnv(bytes.iter().copied()), 0x0b58_672a_2344_5db8);
        assert_eq!(fnv(heard.iter().flat_map(|s| s.to_le_bytes())), 0x8d08_64e5_2ccf_2b6f);
    }

    #[test]
    fn any_bytes_are_decoded_within_range() {
        for seed in 0..=255u8 {
            let bytes: Vec<u8> =
                (0..500u32).map(|i| (i.wrapping_mul(seed.into()) >> 3) as u8 ^ seed).collect();
            let mut heard = vec![0; 1000];
            Decoder::default().decode(&bytes, &mut heard);
            let mut again = vec![0; 500];
            Encoder::default().encode(&heard, &mut again);
        }
    }
}
