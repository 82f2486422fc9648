//! ICE-lite (RFC 8445 §2.5): our address is known, so we answer the peer's checks and send where it wants us to. One component, one
//! stream.

mod stun;

use ring::hmac;
use std::net::SocketAddr;
use stun::{Answer, LONGEST};

/// What we tell of ourselves: it goes with one session, and stands in its description.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// `ice-ufrag`
    pub ufrag: [u8; 8],
    /// `ice-pwd`
    pub pwd: [u8; 24],
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// The most addresses from which checks came that are remembered.
const MOST_VALID: usize = 4;

/// One leg's agent.
#[derive(Debug)]
pub struct Lite {
    ufrag: [u8; 8],
    key: hmac::Key,
    /// From where checks came that were right: the newest first.
    valid: [Option<SocketAddr>; MOST_VALID],
    nominated: Option<SocketAddr>,
}

/// What a check comes to.
#[derive(Debug)]
pub struct Checked {
    answer: [u8; LONGEST],
    len: usize,
    /// The peer wants to get packets there from now on.
    pub nominated: Option<SocketAddr>,
}

impl Checked {
    /// The answer, to be sent to where the check came from.
    pub fn answer(&self) -> &[u8] {
        &self.answer[..self.len]
    }
}

impl Lite {
    /// An agent that goes by these credentials.
    pub fn new(credentials: &Credentials) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &credentials.pwd);
        Self { ufrag: credentials.ufrag, key, valid: [None; MOST_VALID], nominated: None }
    }

    /// Takes a datagram that may be a check (RFC 8445 §7.3). `None`: it is none.
    pub fn check(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Checked> {
        let request = stun::read(datagram)?;
        let mut answer = [0; LONGEST];
        let mut answered = |what, key| {
            let len = request.answer(what, key, &mut answer);
            Some(Checked { answer, len, nominated: None })
        };
        // RFC 8489 §9.1.3.
        let Some(username) = request.username.filter(|_| request.is_signed()) else {
            return answered(Answer::Refused(400), None);
        };
        let ours = username.strip_prefix(&self.ufrag).is_some_and(|rest| rest.first() == Some(&b':'));
        if !ours || !request.is_authentic(&self.key) {
            return answered(Answer::Refused(401), None);
        }
        if request.unknown[0] != 0 {
            return answered(Answer::Refused(420), Some(&self.key));
        }
        if request.is_controlled {
            // We never are in control (RFC 8445 §6.1.1).
            return answered(Answer::Refused(487), Some(&self.key));
        }
        let checked = answered(Answer::Mapped(from), Some(&self.key));
        if !self.valid.contains(&Some(from)) {
            self.valid.rotate_right(1);
            self.valid[0] = Some(from);
        }
        let moved = request.use_candidate && self.nominated != Some(from);
        if moved {
            self.nominated = Some(from);
        }
        checked.map(|checked| Checked { nominated: moved.then_some(from), ..checked })
    }

    /// Whether checks came from there that were right.
    pub fn is_valid(&self, from: SocketAddr) -> bool {
        self.valid.contains(&Some(from))
    }

    /// Where the peer wants to get packets.
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.nominated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Credentials = Credentials { ufrag: *b"ourfragm", pwd: *b"our password of 24 chars" };
    const USE: &[(u16, &[u8])] = &[(0x25, b""), (0x802a, b"12345678"), (0x24, b"prio")];

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn code(checked: &Checked) -> u16 {
        let answer = checked.answer();
        if answer[0] == 1 && answer[1] == 1 {
            200
        } else {
            u16::from(answer[26]) * 100 + u16::from(answer[27])
        }
    }

    #[test]
    fn who_knows_the_password_is_answered_and_may_nominate() {
        let mut lite = Lite::new(&OURS);
        let check = |lite: &mut Lite, port, more| {
            let text = stun::tests::request(b"ourfragm:them", &OURS.pwd, more);
            lite.check(at(port), &text).unwrap()
        };
        let first = check(&mut lite, 1, &[]);
        assert_eq!((code(&first), first.nominated), (200, None));
        assert!(lite.is_valid(at(1)) && !lite.is_valid(at(2)) && lite.nominated().is_none());
        let taken = check(&mut lite, 2, USE);
        assert_eq!((code(&taken), taken.nominated, lite.nominated()), (200, Some(at(2)), Some(at(2))));
        assert_eq!(check(&mut lite, 2, USE).nominated, None, "it is so already");
        assert_eq!(check(&mut lite, 1, USE).nominated, Some(at(1)), "another path is better");
        for port in 3..100 {
            check(&mut lite, port, &[]);
        }
        assert!(lite.is_valid(at(99)) && !lite.is_valid(at(95)), "few are remembered");
    }

    #[test]
    fn strangers_are_refused_and_change_nothing() {
        let mut lite = Lite::new(&OURS);
        for (username, password, more, expected) in [
            (&b"ourfragm:them"[..], &b"wrong"[..], USE, 401),
            (b"another.:them", &OURS.pwd, USE, 401),
            (b"ourfragm", &OURS.pwd, USE, 401),
            (b"ourfragm:them", &OURS.pwd, &[(0x7777, b"")], 420),
            (b"ourfragm:them", &OURS.pwd, &[(0x8029, b"12345678"), (0x25, b"")], 487),
        ] {
            let text = stun::tests::request(username, password, more);
            let checked = lite.check(at(1), &text).unwrap();
            assert_eq!((code(&checked), checked.nominated), (expected, None));
        }
        let mut unsigned = b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction.".to_vec();
        assert_eq!(code(&lite.check(at(1), &unsigned).unwrap()), 400);
        unsigned[1] = 0x11;
        assert!(lite.check(at(1), &unsigned).is_none(), "an indication is not answered");
        assert!(lite.nominated().is_none() && !lite.is_valid(at(1)));
    }
}
