//! Header fields that our messages share: Contact, Allow, and those of extensions.

use super::auth;
use super::facts::{Options, Package, Protocol, RAck, Reason, Refresher, SessionExpires, Target};
use super::read::Reader;
use super::rules::TrunkId;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// The methods that are answered with more than 405 or 501; REFER too, where the trunk may transfer.
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, SUBSCRIBE, NOTIFY";
/// The address and transport that we name in Via and Contact.
#[derive(Debug, Clone, Copy)]
pub struct LocalAddress {
    /// Address.
    pub address: SocketAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// The trunk that is talked to.
    pub trunk: TrunkId,
}

/// Who we are in a Contact.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    /// The conference that was called; its focus is what answers (RFC 4579 §3.1).
    pub focus: Option<Arc<Target>>,
    /// RFC 3261 §12.1.1: a call to a `sips:` URI has a `sips:` contact.
    pub secure: bool,
}

/// Header fields of extensions, in requests and responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers {
    /// Extensions that must be known to understand this.
    pub require: Options,
    /// RFC 4028.
    pub session_expires: Option<SessionExpires>,
    /// RFC 4028 §6.
    pub min_se: Option<u32>,
    /// RFC 3262.
    pub rseq: Option<u32>,
    /// RFC 3262.
    pub rack: Option<RAck>,
    /// Of a subscription.
    pub expires: Option<u32>,
    /// RFC 6665 §4.2.1.1.
    pub min_expires: Option<u32>,
    /// Of a subscription or its notifications, with the CSeq of the REFER that it began with.
    pub event: Option<(Package, Option<u32>)>,
    /// Of a notification.
    pub subscription: Option<SubscriptionState>,
    /// Our half of the session's identifier and theirs (RFC 7989).
    pub session_id: Option<(u128, u128)>,
    /// RFC 3326.
    pub reason: Reason,
    /// A challenge's nonce, and whether the last one was only too old (RFC 7616).
    pub challenge: Option<(u128, bool)>,
    /// Which body would be understood instead.
    pub accept: Option<&'static str>,
}

/// A notification's Subscription-State (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Good for so many seconds.
    Active(u32),
    /// Over, and why.
    Terminated(&'static str),
}

impl LocalAddress {
    /// The host without a port.
    pub(super) fn write_host(self, reader: &Reader, out: &mut Vec<u8>) {
        let _ = match reader.trunk(self.trunk).and_then(|r| r.contact_host.as_ref()) {
            Some(host) => write!(out, "{host}"),
            None if self.address.is_ipv6() => write!(out, "[{}]", self.address.ip()),
            None => write!(out, "{}", self.address.ip()),
        };
    }

    /// Host and port as they stand in Via and Contact.
    pub(super) fn write(self, reader: &Reader, out: &mut Vec<u8>) {
        // Writing into memory does not fail; here and below.
        let _ = match reader.trunk(self.trunk).and_then(|r| r.contact_host.as_ref()) {
            Some(host) => write!(out, "{host}:{}", self.address.port()),
            None => write!(out, "{}", self.address),
        };
    }
}

impl Contact {
    pub(super) fn write(&self, reader: &Reader, local: LocalAddress, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.secure { b"Contact: <sips:" } else { b"Contact: <sip:" });
        let user = match self.focus.as_deref() {
            Some(Target::AdHoc(name)) => write!(out, "{}@", name.as_str()).is_ok(),
            Some(Target::Number(place)) => {
                reader.number(*place).is_some_and(|number| write!(out, "+{number}@").is_ok())
            }
            _ => false,
        };
        local.write(reader, out);
        if local.protocol != Protocol::Udp && !self.secure {
            let _ = write!(out, ";transport={}", local.protocol.as_str());
        }
        out.extend_from_slice(if user { b">;isfocus\r\n" } else { b">\r\n" });
    }
}

impl Headers {
    pub(super) fn write(&self, reader: &Reader, trunk: TrunkId, out: &mut Vec<u8>) {
        if self.require != Options::NONE {
            let _ = write!(out, "Require: {}\r\n", self.require.tags().collect::<Vec<_>>().join(", "));
        }
        if let Some(SessionExpires { seconds, refresher }) = self.session_expires {
            let refresher = match refresher {
                Some(Refresher::Uac) => ";refresher=uac",
                Some(Refresher::Uas) => ";refresher=uas",
                None => "",
            };
            let _ = write!(out, "Session-Expires: {seconds}{refresher}\r\n");
        }
        let numbers = [
            ("Min-SE", self.min_se),
            ("RSeq", self.rseq),
            ("Expires", self.expires),
            ("Min-Expires", self.min_expires),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                let _ = write!(out, "{name}: {number}\r\n");
            }
        }
        if let Some(RAck { rseq, cseq, method }) = self.rack {
            let _ = write!(out, "RAck: {rseq} {cseq} {}\r\n", method.as_str());
        }
        if let Some((package, id)) = self.event {
            let name = if package == Package::Refer { "refer" } else { "conference" };
            let _ = match id {
                Some(id) => write!(out, "Event: {name};id={id}\r\n"),
                None => write!(out, "Event: {name}\r\n"),
            };
        }
        let _ = match self.subscription {
            Some(SubscriptionState::Active(left)) => {
                write!(out, "Subscription-State: active;expires={left}\r\n")
            }
            Some(SubscriptionState::Terminated(why)) => {
                write!(out, "Subscription-State: terminated;reason={why}\r\n")
            }
            None => Ok(()),
        };
        if let Some((ours, theirs)) = self.session_id {
            let _ = write!(out, "Session-ID: {ours:032x};remote={theirs:032x}\r\n");
        }
        if let Some(cause) = self.reason.q850 {
            let _ = write!(out, "Reason: Q.850;cause={cause}\r\n");
        }
        if let Some(cause) = self.reason.sip {
            let _ = write!(out, "Reason: SIP;cause={cause}\r\n");
        }
        if let Some((nonce, stale)) = self.challenge {
            auth::write_challenge(reader, trunk, nonce, stale, out);
        }
        if let Some(kinds) = self.accept {
            let _ = write!(out, "Accept: {kinds}\r\nAccept-Encoding: identity\r\n");
        }
    }
}

pub(super) fn allow(reader: &Reader, trunk: TrunkId, out: &mut Vec<u8>) {
    let refer = if reader.trunk(trunk).is_some_and(|r| r.refer) { ", REFER" } else { "" };
    let _ = write!(out, "Allow: {ALLOW}{refer}\r\n");
}

pub(super) fn supported(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Supported: 100rel, timer, replaces\r\n");
}
