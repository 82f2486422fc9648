//! What lies between a stream's bytes and its messages: TLS, WebSocket, or both. It has buffers of its own, in secret pages.

use super::framing::{Frame, scan};
use super::tls::{Session, TlsFault, take_front};
use super::web::{Web, WebFault};
use crate::message::Protocol;

/// Readable bytes that may wait to be written to one peer.
pub(super) const MOST_OUT: usize = 256 * 1024;

/// The stream cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl vault::Leaves for Broken {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

impl From<vault::VaultError> for Broken {
    fn from(_: vault::VaultError) -> Self {
        Self
    }
}

impl From<TlsFault> for Broken {
    fn from(_: TlsFault) -> Self {
        Self
    }
}

impl From<WebFault> for Broken {
    fn from(_: WebFault) -> Self {
        Self
    }
}

/// The layers of one stream.
pub(super) struct Layers {
    tls: Option<Session>,
    web: Option<Web>,
    /// Without TLS: what is to be sent.
    out: Vec<u8>,
}

impl Layers {
    /// Those of a protocol, over TLS if `tls` is there.
    pub(super) fn new(protocol: Protocol, tls: Option<Session>) -> Result<Self, Broken> {
        let web = matches!(protocol, Protocol::Ws | Protocol::Wss).then(Web::accept).transpose()?;
        Ok(Self { tls, web, out: Vec::new() })
    }

    /// Takes bytes of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match (&mut self.tls, &mut self.web) {
            (Some(tls), None) => tls.feed(bytes)?,
            (None, Some(web)) => web.feed(bytes)?,
            (Some(tls), Some(web)) => {
                tls.feed(bytes)?;
                let len = tls.plain().len();
                let fed = web.feed(tls.plain());
                tls.taken(len);
                fed?;
            }
            (None, None) => return Err(Broken),
        }
        self.pass_down()
    }

    /// Says a message.
    pub(super) fn say(&mut self, message: &[u8]) -> Result<(), Broken> {
        match (&mut self.tls, &mut self.web) {
            (Some(tls), None) => tls.say(message)?,
            (_, Some(web)) => web.say(message)?,
            (None, None) => return Err(Broken),
        }
        self.pass_down()
    }

    /// What the upper layer wants to send goes to the lower one.
    fn pass_down(&mut self) -> Result<(), Broken> {
        if let Some(web) = &mut self.web {
            let out = web.take_out();
            match &mut self.tls {
                Some(tls) if !out.is_empty() => tls.say(&out)?,
                Some(_) => {}
                None => self.out.extend_from_slice(&out),
            }
        }
        if self.out().len() > MOST_OUT { Err(Broken) } else { Ok(()) }
    }

    /// Where the next message ends. [`Self::take`] takes it.
    pub(super) fn scan(&mut self) -> Frame {
        let Some(web) = &mut self.web else {
            return self.tls.as_ref().map_or(Frame::Bad, |t| scan(t.plain()));
        };
        let frame = match web.read() {
            Ok(message) => message.map_or(Frame::Partial, |m| Frame::Message(m.len())),
            Err(WebFault) => Frame::Bad,
        };
        // Answers to pings.
        if self.pass_down().is_ok() { frame } else { Frame::Bad }
    }

    /// Copies the next `len` bytes, a message or the blank before one, and forgets them.
    pub(super) fn take(&mut self, len: usize, into: &mut [u8]) {
        if let Some(web) = &mut self.web {
            if let (Some(message), Some(into)) = (web.message(), into.get_mut(..len)) {
                into.copy_from_slice(message);
            }
            web.taken();
        } else if let Some(tls) = &mut self.tls
            && let (Some(message), Some(into)) = (tls.plain().get(..len), into.get_mut(..len))
        {
            into.copy_from_slice(message);
            tls.taken(len);
        }
    }

    /// Bytes to be sent, from the oldest on.
    pub(super) fn out(&self) -> &[u8] {
        self.tls.as_ref().map_or(&self.out, Session::out)
    }

    /// Forgets the oldest of them.
    pub(super) fn sent(&mut self, len: usize) {
        match &mut self.tls {
            Some(tls) => tls.sent(len),
            None => take_front(&mut self.out, len),
        }
    }

    /// Whether messages can pass.
    pub(super) fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(Session::is_open) && self.web.as_ref().is_none_or(Web::is_open)
    }

    /// Whether part of a message is there.
    pub(super) fn has_begun(&self) -> bool {
        !self.is_open() || self.web.is_none() && self.tls.as_ref().is_some_and(|t| !t.plain().is_empty())
    }

    /// Whether the peer said that nothing follows.
    pub(super) fn is_closed(&self) -> bool {
        self.tls.as_ref().is_some_and(Session::is_closed) || self.web.as_ref().is_some_and(Web::is_closed)
    }

    /// Says that nothing follows.
    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
    }

    /// Whether the peer's certificate, which was verified, is one for this host name.
    pub(super) fn peer_is(&self, name: &str) -> bool {
        self.tls.as_ref().is_some_and(|t| t.peer_is(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: bridge.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    /// A client's frame with a text (RFC 6455 §5.2), masked by nothing.
    fn frame(text: &[u8], opcode: u8) -> Vec<u8> {
        let mut out = vec![0x80 | opcode];
        match text.len() {
            n @ 0..126 => out.push(0x80 | n as u8),
            n => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(text);
        out
    }

    fn out(layers: &mut Layers) -> String {
        let out = String::from_utf8_lossy(layers.out()).into_owned();
        layers.sent(layers.out().len());
        out
    }

    fn next(layers: &mut Layers) -> Option<String> {
        let Frame::Message(len) = layers.scan() else { return None };
        let mut buffer = vec![0; len];
        layers.take(len, &mut buffer);
        Some(String::from_utf8(buffer).unwrap())
    }

    fn open() -> Layers {
        let mut layers = Layers::new(Protocol::Ws, None).unwrap();
        let request = format!("{REQUEST}Sec-WebSocket-Protocol: chat, sip\r\n\r\n");
        for piece in request.as_bytes().chunks(50) {
            assert!(!layers.is_open() && layers.has_begun());
            layers.feed(piece).unwrap();
        }
        let answer = out(&mut layers).to_lowercase();
        assert!(
            answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-protocol: sip"),
            "{answer}"
        );
        assert!(layers.is_open() && !layers.has_begun());
        layers
    }

    #[test]
    fn each_websocket_message_is_one_sip_message() {
        let mut layers = open();
        let two = [frame(b"OPTIONS one", 1), frame(b"\r\n\r\n", 1), frame(&[b'x'; 300], 2)].concat();
        for piece in two.chunks(7) {
            layers.feed(piece).unwrap();
        }
        assert_eq!(next(&mut layers).as_deref(), Some("OPTIONS one"));
        assert_eq!(next(&mut layers).as_deref(), Some("\r\n\r\n"), "a keep-alive");
        assert_eq!(next(&mut layers).map(|m| m.len()), Some(300));
        assert_eq!(next(&mut layers), None);
        layers.say(b"SIP/2.0 200 OK").unwrap();
        assert!(out(&mut layers).ends_with("SIP/2.0 200 OK"));
        layers.feed(&frame(b"still there", 9)).unwrap();
        assert_eq!(next(&mut layers), None);
        assert!(out(&mut layers).ends_with("still there"), "a ping's answer");
        layers.feed(&frame(&1000u16.to_be_bytes(), 8)).unwrap();
        assert_eq!(next(&mut layers), None);
        assert!(layers.is_closed());
    }

    #[test]
    fn an_upgrade_to_anything_else_is_refused_and_what_is_too_large_ends_it() {
        for protocol in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
            let mut layers = Layers::new(Protocol::Ws, None).unwrap();
            let request = format!("{REQUEST}{protocol}\r\n");
            assert_eq!(layers.feed(request.as_bytes()), Err(Broken), "{protocol}");
        }
        let mut layers = Layers::new(Protocol::Ws, None).unwrap();
        assert_eq!(layers.feed(b"OPTIONS sip:a SIP/2.0\r\n\r\n"), Err(Broken));
        let mut layers = Layers::new(Protocol::Ws, None).unwrap();
        let long = format!("{REQUEST}X: {}", "y".repeat(20_000));
        assert!(
            long.as_bytes().chunks(1000).any(|piece| layers.feed(piece).is_err()),
            "a head without an end"
        );
        let mut layers = open();
        let mut huge = vec![0x82, 0x80 | 127];
        huge.extend_from_slice(&(1u64 << 40).to_be_bytes());
        huge.extend_from_slice(&[0; 4]);
        layers.feed(&huge).unwrap();
        assert_eq!(layers.scan(), Frame::Bad);
    }

    #[test]
    fn many_messages_in_one_read_are_taken_one_by_one() {
        let mut layers = open();
        layers.feed(&frame(b"x", 1).repeat(5000)).unwrap();
        assert_eq!(std::iter::from_fn(|| next(&mut layers)).count(), 5000);
        assert!(!layers.is_closed());
    }
}
