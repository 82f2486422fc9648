//! SIP over WebSocket (RFC 7118), as a machine without sockets: the server's side, by tungstenite. Each WebSocket message is one SIP message.

use super::tls::take_front;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderValue, StatusCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{HandshakeError, Message, Utf8Bytes, WebSocket};

/// The largest message.
const MOST: usize = crate::message::lexer::MOST_BYTES;
/// Bytes of a request for the upgrade.
const MOST_REQUEST: usize = 16 * 1024;

/// The peer broke the protocol, or wants something else than SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WebFault;

impl vault::Leaves for WebFault {
    fn leave(self, _: vault::leaves::Leaving) -> Self {
        self
    }
}

#[derive(Default)]
struct Buffers {
    incoming: VecDeque<u8>,
    out: Vec<u8>,
}

/// What tungstenite takes for a socket.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Buffers>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let incoming = &mut self.0.borrow_mut().incoming;
        if incoming.is_empty() {
            // Freed, and so wiped.
            *incoming = VecDeque::new();
            return Err(ErrorKind::WouldBlock.into());
        }
        incoming.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().out.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes an upgrade only for the subprotocol `sip` (RFC 7118 §4.1).
struct ForSip;

impl Callback for ForSip {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        const PROTOCOL: &str = "Sec-WebSocket-Protocol";
        let offered = request.headers().get_all(PROTOCOL).iter().filter_map(|v| v.to_str().ok());
        if !offered.flat_map(|v| v.split(',')).any(|p| p.trim().eq_ignore_ascii_case("sip")) {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Err(refusal);
        }
        response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("sip"));
        Ok(response)
    }
}

enum State {
    Shaking(MidHandshake<ServerHandshake<Pipe, ForSip>>),
    Open(Box<WebSocket<Pipe>>),
    Over,
}

/// One connection.
pub(super) struct Web {
    pipe: Pipe,
    state: State,
    /// The message that is to be taken next; what is behind it is read when it was.
    message: Option<Utf8OrBytes>,
    /// Bytes of a frame that is not whole yet. tungstenite gets whole ones only, so that its own buffers are empty between messages and can be
    /// thrown away, which wipes them.
    frame: Vec<u8>,
    /// The machine has taken nothing since it was made.
    fresh: bool,
    /// What we want to say when the upgrade is over.
    waiting: Vec<Vec<u8>>,
    closed: bool,
    /// Bytes of the request for the upgrade so far.
    asked: usize,
}

/// A message, as it came: what it is answered as.
enum Utf8OrBytes {
    Text(Utf8Bytes),
    Binary(tungstenite::Bytes),
}

impl Utf8OrBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(Some(MOST))
        .max_frame_size(Some(MOST))
}

impl Web {
    /// Waits for a request for the upgrade.
    pub(super) fn accept() -> Result<Self, WebFault> {
        let pipe = Pipe::default();
        let state = match tungstenite::accept_hdr_with_config(pipe.clone(), ForSip, Some(config())) {
            Err(HandshakeError::Interrupted(shaking)) => State::Shaking(shaking),
            _ => return Err(WebFault),
        };
        let (frame, waiting) = (Vec::new(), Vec::new());
        Ok(Self { pipe, state, message: None, frame, fresh: true, waiting, closed: false, asked: 0 })
    }

    /// Takes bytes of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), WebFault> {
        if !self.is_open() {
            // tungstenite takes what there is, and has a limit of its own that is too wide for us.
            self.asked += bytes.len();
            if self.asked > MOST_REQUEST {
                return Err(WebFault);
            }
        }
        if self.is_open() {
            self.frame.extend_from_slice(bytes);
        } else {
            self.pipe.0.borrow_mut().incoming.extend(bytes);
        }
        self.turn()
    }

    /// Gives the next frame to the machine, if it is whole.
    fn pass_frame(&mut self) -> Result<bool, WebFault> {
        let Some(len) = frame_length(&self.frame)? else { return Ok(false) };
        self.pipe.0.borrow_mut().incoming.extend(&self.frame[..len]);
        self.fresh = false;
        take_front(&mut self.frame, len);
        Ok(true)
    }

    /// Throws the machine's buffers away when nothing is in them.
    fn refresh(&mut self) {
        if let State::Open(socket) = &mut self.state
            && !self.closed
        {
            **socket = WebSocket::from_raw_socket(self.pipe.clone(), Role::Server, Some(config()));
            self.fresh = true;
        }
    }

    fn turn(&mut self) -> Result<(), WebFault> {
        if let State::Shaking(_) = &self.state {
            let State::Shaking(shaking) = std::mem::replace(&mut self.state, State::Over) else {
                return Err(WebFault);
            };
            match shaking.handshake() {
                Ok(socket) => self.state = State::Open(Box::new(socket)),
                Err(HandshakeError::Interrupted(shaking)) => self.state = State::Shaking(shaking),
                Err(HandshakeError::Failure(_)) => return Err(WebFault),
            }
        }
        let State::Open(socket) = &mut self.state else { return Ok(()) };
        for message in std::mem::take(&mut self.waiting) {
            say(socket, &message)?;
        }
        Ok(())
    }

    /// The next message, if it is whole.
    pub(super) fn read(&mut self) -> Result<Option<&[u8]>, WebFault> {
        while self.message.is_none() && !self.closed {
            let State::Open(socket) = &mut self.state else { return Ok(None) };
            match socket.read() {
                Ok(Message::Text(text)) => self.message = Some(Utf8OrBytes::Text(text)),
                Ok(Message::Binary(bytes)) => self.message = Some(Utf8OrBytes::Binary(bytes)),
                Ok(Message::Close(_)) => self.closed = true,
                // A ping's answer is written by itself, with the next flush.
                Ok(_) => {}
                Err(tungstenite::Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                    if !self.pass_frame()? {
                        break;
                    }
                }
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    self.closed = true
                }
                Err(_) => return Err(WebFault),
            }
        }
        let State::Open(socket) = &mut self.state else { return Ok(None) };
        match socket.flush() {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => Ok(self.message()),
            Err(_) => Err(WebFault),
        }
    }

    /// Says a message: at once, or when the upgrade is over.
    pub(super) fn say(&mut self, message: &[u8]) -> Result<(), WebFault> {
        match &mut self.state {
            State::Open(socket) => {
                say(socket, message)?;
                if self.fresh {
                    self.refresh();
                }
                Ok(())
            }
            State::Shaking(_) => {
                self.waiting.push(message.to_vec());
                Ok(())
            }
            State::Over => Err(WebFault),
        }
    }

    /// The message that is to be taken next.
    pub(super) fn message(&self) -> Option<&[u8]> {
        self.message.as_ref().map(Utf8OrBytes::bytes)
    }

    /// Forgets it.
    pub(super) fn taken(&mut self) {
        self.message = None;
        // It has had this message's frames and no more.
        self.refresh();
    }

    /// Takes out what is to be sent.
    pub(super) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pipe.0.borrow_mut().out)
    }

    /// Whether the upgrade is over.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the peer said that nothing follows.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Where the first frame ends, if it is whole (RFC 6455 §5.2).
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, WebFault> {
    let (Some(second), extended) = (bytes.get(1), bytes.get(2..).unwrap_or_default()) else {
        return Ok(None);
    };
    let (wide, payload) = match second & 0x7f {
        126 => (2, extended.first_chunk::<2>().map(|n| u64::from(u16::from_be_bytes(*n)))),
        127 => (8, extended.first_chunk::<8>().map(|n| u64::from_be_bytes(*n))),
        short => (0, Some(u64::from(short))),
    };
    let Some(payload) = payload else { return Ok(None) };
    if payload > MOST as u64 {
        return Err(WebFault);
    }
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let total = 2 + wide + mask + payload as usize;
    Ok((bytes.len() >= total).then_some(total))
}

/// SIP's messages are UTF-8 and go as text; what is not goes as it is (RFC 7118 §5).
fn say(socket: &mut WebSocket<Pipe>, message: &[u8]) -> Result<(), WebFault> {
    let message = match std::str::from_utf8(message) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(message.to_vec()),
    };
    socket.send(message).map_err(|_| WebFault)
}
