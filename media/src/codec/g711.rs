//! ITU-T G.711 by table: 256 entries to decode, 2^14 (µ-law) and 2^13 (A-law) to encode, all made at compile
//! time from the segments that the recommendation defines.

/// µ-law works on 14-bit samples, A-law on 13-bit samples: what a 16-bit sample has more is dropped.
const ULAW_SHIFT: u32 = 2;
const ALAW_SHIFT: u32 = 3;

static ULAW_TO_PCM: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = !(code as u8);
        let segment = (bits >> 4 & 7) as i32;
        let step = (bits & 15) as i32;
        // Values of a segment stand at odd multiples; 33 is the bias (14-bit scale).
        let magnitude = ((2 * step + 33) << segment) - 33;
        let value = (magnitude << ULAW_SHIFT) as i16;
        table[code] = if bits & 0x80 == 0 { value } else { -value };
        code += 1;
    }
    table
};

static ALAW_TO_PCM: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ 0x55;
        let segment = (bits >> 4 & 7) as i32;
        let step = (bits & 15) as i32;
        // 13-bit scale counts half steps as one: segment 0 is linear, the others carry a leading one.
        let magnitude = if segment == 0 { 2 * step + 1 } else { (2 * step + 33) << (segment - 1) };
        let value = (magnitude << ALAW_SHIFT) as i16;
        table[code] = if bits & 0x80 != 0 { value } else { -value };
        code += 1;
    }
    table
};

const fn ulaw_code(sample14: i32) -> u8 {
    let negative = sample14 < 0;
    let mut magnitude = if negative { -sample14 } else { sample14 };
    if magnitude > 8158 {
        magnitude = 8158;
    }
    magnitude += 33;
    let segment = 31 - (magnitude as u32).leading_zeros() as i32 - 5;
    let step = (magnitude >> (segment + 1)) & 15;
    !((if negative { 0x80 } else { 0 }) | (segment as u8) << 4 | step as u8)
}

const fn alaw_code(sample13: i32) -> u8 {
    // One's complement for negative samples, so that −1 belongs to the first negative step.
    let (sign, magnitude) = if sample13 < 0 { (0, !sample13) } else { (0x80, sample13) };
    let code = if magnitude < 32 {
        (magnitude >> 1) as u8
    } else {
        let segment = 31 - (magnitude as u32).leading_zeros() as i32 - 4;
        (segment as u8) << 4 | (magnitude >> segment & 15) as u8
    };
    (code | sign) ^ 0x55
}

static PCM_TO_ULAW: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut i = 0;
    while i < 1 << 14 {
        table[i] = ulaw_code(i as i32 - (1 << 13));
        i += 1;
    }
    table
};

static PCM_TO_ALAW: [u8; 1 << 13] = {
    let mut table = [0; 1 << 13];
    let mut i = 0;
    while i < 1 << 13 {
        table[i] = alaw_code(i as i32 - (1 << 12));
        i += 1;
    }
    table
};

/// One µ-law byte to a 16-bit sample.
#[inline]
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_TO_PCM[code as usize]
}

/// One 16-bit sample to a µ-law byte.
#[inline]
pub fn ulaw_encode(sample: i16) -> u8 {
    // Towards zero, so that both signs are treated alike.
    PCM_TO_ULAW[(i32::from(sample) / (1 << ULAW_SHIFT) + (1 << 13)) as usize]
}

/// One A-law byte to a 16-bit sample.
#[inline]
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_TO_PCM[code as usize]
}

/// One 16-bit sample to an A-law byte.
#[inline]
pub fn alaw_encode(sample: i16) -> u8 {
    PCM_TO_ALAW[((i32::from(sample) >> ALAW_SHIFT) + (1 << 12)) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_g711() {
        // G.711 tables 1a to 2b: ends, zeros and segment edges.
        assert_eq!(ulaw_decode(0xff), 0);
        assert_eq!(ulaw_decode(0x80), 8031 << 2);
        assert_eq!(ulaw_decode(0x00), -(8031 << 2));
        assert_eq!(ulaw_decode(0xf0), 30 << 2);
        assert_eq!(ulaw_decode(0xef), 33 << 2);
        assert_eq!(alaw_decode(0xd5), 1 << 3);
        assert_eq!(alaw_decode(0x55), -(1 << 3));
        assert_eq!(alaw_decode(0xaa), 4032 << 3);
        assert_eq!(alaw_decode(0x2a), -(4032 << 3));
        assert_eq!((ulaw_encode(0), alaw_encode(0)), (0xff, 0xd5));
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            let (u, a) = (ulaw_encode(ulaw_decode(code)), alaw_encode(alaw_decode(code)));
            // µ-law has two zeros.
            assert!(u == code || (code == 0x7f && u == 0xff), "µ-law {code:#x} became {u:#x}");
            assert_eq!(a, code, "A-law");
        }
    }

    #[test]
    fn every_sample_comes_back_in_order_and_within_half_a_step() {
        for (codec, largest, unit) in [
            (ulaw_through as fn(i16) -> i16, 8031 << ULAW_SHIFT, 1 << ULAW_SHIFT),
            (alaw_through, 4032 << ALAW_SHIFT, 1 << ALAW_SHIFT),
        ] {
            let mut last = i32::MIN;
            for sample in i16::MIN..=i16::MAX {
                let (value, out) = (i32::from(sample), i32::from(codec(sample)));
                assert!(out >= last, "not in order at {sample}");
                last = out;
                // A segment's half step is 1/33 of its first value; what is beyond full scale is cut.
                let error = (value.clamp(-largest, largest) - out).abs();
                assert!(error <= value.abs() / 32 + 2 * unit, "{sample} became {out}");
            }
        }
    }

    fn ulaw_through(sample: i16) -> i16 {
        ulaw_decode(ulaw_encode(sample))
    }

    fn alaw_through(sample: i16) -> i16 {
        alaw_decode(alaw_encode(sample))
    }
}
