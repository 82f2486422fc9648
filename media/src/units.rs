//! Units as types, so that a sequence number is never taken for a timestamp.

/// Nanoseconds of one clock. On the wire side that is the kernel's `CLOCK_REALTIME`, in which it stamps
/// packets; in tests it is whatever the test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// From whole milliseconds.
    pub const fn millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// `self − earlier` in nanoseconds, negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

impl std::ops::Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

/// A sampling rate of linear sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Rate {
    /// 8 kHz: telephone.
    #[default]
    Narrow,
    /// 16 kHz: wideband telephone.
    Wide,
    /// 48 kHz: browsers.
    Full,
}

impl Rate {
    /// All, the lowest first.
    pub const ALL: [Self; 3] = [Self::Narrow, Self::Wide, Self::Full];

    /// Samples in a second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Narrow => 8_000,
            Self::Wide => 16_000,
            Self::Full => 48_000,
        }
    }

    /// Samples in a tick of 20 ms: 160, 320 or 960.
    pub const fn frame(self) -> usize {
        self.ms(20)
    }

    /// Samples in so many milliseconds.
    pub const fn ms(self, ms: usize) -> usize {
        self.hz() as usize / 1000 * ms
    }

    /// Nanoseconds that so many samples last.
    pub const fn nanos(self, samples: i64) -> i64 {
        samples * 1_000_000 / (self.hz() as i64 / 1000)
    }

    /// Samples in so many nanoseconds, rounded down.
    pub const fn samples(self, nanos: i64) -> i64 {
        (nanos * (self.hz() as i64 / 1000)).div_euclid(1_000_000)
    }
}

/// Samples in a tick at the highest rate.
pub const LONGEST_FRAME: usize = Rate::Full.frame();

/// Talkers that are heard at the same time.
pub const SPEAKERS: usize = 4;

/// RTP synchronisation source (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ssrc(pub u32);

/// RTP sequence number; wraps at 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// How far `self` is ahead of `other`, −32768..=32767.
    pub fn ahead_of(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }

    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// RTP timestamp in the payload's clock; wraps at 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpTime(pub u32);

impl RtpTime {
    /// How far `self` is ahead of `other`, in clock units.
    pub fn ahead_of(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// This time and `units` more.
    #[must_use]
    pub fn plus(self, units: u32) -> Self {
        Self(self.0.wrapping_add(units))
    }
}

/// RTP payload type, 0..=127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PayloadType(pub u8);

/// Which conference of an engine. Chosen by the engine's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// Which leg of an engine. Chosen by the engine's user, unique over the engine's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);
