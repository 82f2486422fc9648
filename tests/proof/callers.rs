//! Callers of made-up identities by every transport, and a carrier that is called; each message written by hand so that every header that can name somebody does.

use super::canary::Identity;
use crate::authority::Authority;
use crate::harness::{Bridge, Feed, PATIENCE, TOKEN, curl_with, until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};
use vault::opener::ContentKey;

/// One caller, with a socket of their own.
pub struct Caller {
    pub identity: Identity,
    /// Whom they call.
    to: &'static str,
    socket: Socket,
    local: SocketAddr,
    bridge: SocketAddr,
    privacy: Option<&'static str>,
    to_tag: String,
    /// All that the bridge sent here by SIP.
    pub heard: Vec<u8>,
    /// RTP and RTCP come here, if anybody wants them.
    media: Option<[UdpSocket; 2]>,
    /// Keys pressed so far.
    pressed: u32,
    /// The token of the personal link in the last answer.
    pub link: Option<String>,
    /// Calls made so far: each has its own branches and tag.
    round: usize,
}

type Session = StreamOwned<ClientConnection, TcpStream>;

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<Session>),
    Ws(Box<WebSocket<TcpStream>>),
    Wss(Box<WebSocket<Session>>),
}

/// What a bridge needs that is called by all transports, and calls.
pub struct Ways {
    authority: Authority,
    pub carrier: Carrier,
    /// Listeners, lines of `[sip]` and of the trunk, and `[dial]`.
    pub also: &'static str,
    pub sip: String,
    pub trunk: String,
    pub dial: String,
}

impl Ways {
    pub fn new() -> Self {
        let authority = Authority::new();
        let [cert, key] = authority.sign("bridge", "DNS:localhost,IP:127.0.0.1");
        let carrier = Carrier::start();
        let prefixes: Vec<_> = (0..10).map(|d| format!("\"+{d}\"")).collect();
        Self {
            also: ", \"tls://127.0.0.1:0\", \"ws://127.0.0.1:0\", \"wss://127.0.0.1:0\"",
            sip: format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display()),
            trunk: format!(
                "conference_events = true\nto = [\"udp://{}\"]\ncaller = \"+12025550100\"\nkeep_alive = 5\n",
                carrier.address
            ),
            dial: format!(
                "[dial]\nallowed = [{}]\nper_conference = 10000\nper_day = 10000\n",
                prefixes.join(", ")
            ),
            authority,
            carrier,
        }
    }

    fn session(&self, to: SocketAddr) -> Session {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.authority.ca()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = stream(to);
        // At once: who says nothing for ten seconds is sent away.
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        StreamOwned::new(session, socket)
    }

    /// A caller by the transport with this number; there are five.
    pub fn caller(&self, bridge: &Bridge, number: usize, privacy: Option<&'static str>) -> Caller {
        fn sip(to: SocketAddr, scheme: &str) -> tungstenite::handshake::client::Request {
            let mut request = format!("{scheme}://{to}/").into_client_request().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", "sip".parse().unwrap());
            request
        }
        let at = |protocol| bridge.by(protocol);
        match number % 5 {
            0 => Caller::new(bridge.sip, None, privacy),
            1 => Caller::new(bridge.sip, Some(bridge.tcp), privacy),
            2 => {
                let to = at("tls");
                let session = self.session(to);
                let local = session.sock.local_addr().unwrap();
                Caller::of(Socket::Tls(Box::new(session)), local, to, privacy)
            }
            3 => {
                let to = at("ws");
                let socket = stream(to);
                let local = socket.local_addr().unwrap();
                let (socket, _) = tungstenite::client(sip(to, "ws"), socket).unwrap();
                Caller::of(Socket::Ws(Box::new(socket)), local, to, privacy)
            }
            _ => {
                let to = at("wss");
                let session = self.session(to);
                let local = session.sock.local_addr().unwrap();
                let (socket, _) = tungstenite::client(sip(to, "wss"), session).unwrap();
                Caller::of(Socket::Wss(Box::new(socket)), local, to, privacy)
            }
        }
    }
}

fn stream(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A carrier that is called: it answers for everybody, by name and address.
pub struct Carrier {
    pub address: SocketAddr,
    people: Arc<Mutex<Vec<Identity>>>,
    /// All that the bridge sent here.
    pub heard: Arc<Mutex<Vec<u8>>>,
}

impl Carrier {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (people, heard) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (known, all) = (people.clone(), heard.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                all.lock().unwrap().extend_from_slice(&buffer[..len]);
                let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                for answer in answers(&text, address, &known.lock().unwrap()) {
                    socket.send_to(answer.as_bytes(), from).unwrap();
                }
            }
        });
        Self { address, people, heard }
    }

    /// Somebody more whom it can reach: the number.
    pub fn reaches(&self) -> String {
        let identity = Identity::new();
        let number = dialled(&identity);
        self.people.lock().unwrap().push(identity);
        number
    }

    /// Those whom it reaches.
    pub fn people(&self) -> Vec<Identity> {
        std::mem::take(&mut *self.people.lock().unwrap())
    }
}

/// As much of a number as there is in E.164.
fn dialled(identity: &Identity) -> String {
    format!("+{}", &identity.number[..15])
}

/// What the carrier answers to a request.
fn answers(text: &str, own: SocketAddr, people: &[Identity]) -> Vec<String> {
    let field = |name: &str| text.split("\r\n").find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    let echo = |tag: &str| {
        ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "]
            .map(|n| {
                format!(
                    "{n}{}{}\r\n",
                    field(n),
                    if n == "To: " && !field(n).contains(";tag=") { tag } else { "" }
                )
            })
            .concat()
    };
    let ok = format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", echo(";tag=c"));
    match text.split(' ').next() {
        Some("INVITE") => {
            let Some(Identity { name, number, email, profile, .. }) =
                people.iter().find(|i| text.lines().next().is_some_and(|l| l.contains(&dialled(i))))
            else {
                return vec![ok.replace("200 OK", "404 Not Found")];
            };
            let who = format!(
                "Contact: \"{name}\" <sip:{email}@{own}>\r\nP-Asserted-Identity: \"{name}\" <sip:{number}@example.com>\r\n\
                 Remote-Party-ID: <sip:{number}@example.com>\r\nCall-Info: <https://example.com/{profile}>;purpose=card\r\n"
            );
            let sdp = format!(
                "v=0\r\no={name} 1 1 IN IP4 127.0.0.1\r\ns={name}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"
            );
            let head = format!("{}{who}", echo(";tag=c"));
            vec![
                format!("SIP/2.0 180 {name}\r\n{head}Content-Length: 0\r\n\r\n"),
                format!(
                    "SIP/2.0 200 {name}\r\n{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
                    sdp.len()
                ),
            ]
        }
        Some("ACK") | None => Vec::new(),
        Some(_) => vec![ok],
    }
}

/// A host's key, with which people are dialled.
pub struct Host {
    pub feed: Feed,
    key: ContentKey,
    id: String,
    http: SocketAddr,
}

impl Host {
    /// Has a number called into the meeting.
    pub fn dial(&self, number: &str) {
        let body = format!(r#"{{"number":{{"jwe":"{}"}}}}"#, self.key.seal(number).unwrap());
        let url =
            format!("http://{}/v1/conferences/confproof/participants?viewer_key={}", self.http, self.id);
        let (status, text) = curl_with("POST", &url, Some(TOKEN), Some(&body));
        assert_eq!(status, 202, "{text}");
    }
}

impl Caller {
    pub fn new(udp: SocketAddr, tcp: Option<SocketAddr>, privacy: Option<&'static str>) -> Self {
        let bridge = tcp.unwrap_or(udp);
        let (socket, local) = if tcp.is_some() {
            let stream = stream(bridge);
            let local = stream.local_addr().unwrap();
            (Socket::Tcp(stream), local)
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(bridge).unwrap();
            let local = socket.local_addr().unwrap();
            (Socket::Udp(socket), local)
        };
        Self::of(socket, local, bridge, privacy)
    }

    fn of(socket: Socket, local: SocketAddr, bridge: SocketAddr, privacy: Option<&'static str>) -> Self {
        Self {
            identity: Identity::new(),
            to: "confproof",
            socket,
            local,
            bridge,
            privacy,
            to_tag: String::new(),
            heard: Vec::new(),
            media: None,
            pressed: 0,
            link: None,
            round: 0,
        }
    }

    /// They call somebody else.
    pub fn to(self, to: &'static str) -> Self {
        Self { to, ..self }
    }

    fn send(&mut self, text: &str) {
        match &mut self.socket {
            Socket::Udp(socket) => assert_eq!(socket.send(text.as_bytes()).unwrap(), text.len()),
            Socket::Tcp(stream) => stream.write_all(text.as_bytes()).unwrap(),
            Socket::Tls(session) => {
                session.write_all(text.as_bytes()).unwrap();
                session.flush().unwrap();
            }
            Socket::Ws(socket) => socket.send(Message::text(text)).unwrap(),
            Socket::Wss(socket) => socket.send(Message::text(text)).unwrap(),
        }
    }

    /// The 200 to a request of this method.
    fn await_ok(&mut self, method: &str) -> String {
        until(&format!("a 200 to {method}"), || {
            let text = self.receive();
            let mut responses = text.split("SIP/2.0 ").filter(|r| r.starts_with("200 "));
            let is_it = |r: &&str| r.lines().any(|l| l.starts_with("CSeq:") && l.ends_with(method));
            let found = responses.find(is_it).map(str::to_owned);
            found.filter(|r| method != "INVITE" || r.contains(&format!(";tag=f{}\r\n", self.round)))
        })
    }

    /// What comes next, in one piece.
    fn receive(&mut self) -> String {
        let mut buffer = vec![0; 65_536];
        let len = match &mut self.socket {
            Socket::Udp(socket) => socket.recv(&mut buffer).unwrap(),
            // On loopback a response that was sent whole is read whole, perhaps with others.
            Socket::Tcp(stream) => stream.read(&mut buffer).unwrap(),
            Socket::Tls(session) => session.read(&mut buffer).unwrap(),
            Socket::Ws(socket) => take(socket.read().unwrap(), &mut buffer),
            Socket::Wss(socket) => take(socket.read().unwrap(), &mut buffer),
        };
        self.heard.extend_from_slice(&buffer[..len]);
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// Subscribes to the meeting's state and takes the first notification.
    pub fn subscribe(&mut self) {
        let tag = std::mem::take(&mut self.to_tag);
        let text = self.message("SUBSCRIBE", "s", 1, "").replace("Subject:", "Event: conference\r\nSubject:");
        self.to_tag = tag;
        // A dialog of its own.
        let own = format!("Call-ID: {}s\r\n", self.identity.call_id);
        self.send(&text.replace(&format!("Call-ID: {}\r\n", self.identity.call_id), &own));
        let mut all = String::new();
        let answer = until("the meeting's state", || {
            all += &self.receive();
            let notify = &all[all.find("NOTIFY sip:")?..];
            let field =
                |name: &str| notify.split("\r\n").find_map(|l| l.strip_prefix(name)).unwrap_or_default();
            notify.contains("</conference-info>").then_some(())?;
            let echo = ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "]
                .map(|n| format!("{n}{}\r\n", field(n)))
                .concat();
            Some(format!("SIP/2.0 200 OK\r\n{echo}Content-Length: 0\r\n\r\n"))
        });
        self.send(&answer);
    }

    fn message(&self, method: &str, branch: &str, cseq: u32, body: &str) -> String {
        let Identity { name, number, email, profile, call_id } = &self.identity;
        let (local, bridge, round, to) = (self.local, self.bridge, self.round, self.to);
        let transport = match self.socket {
            Socket::Udp(_) => "UDP",
            Socket::Tcp(_) => "TCP",
            Socket::Tls(_) => "TLS",
            Socket::Ws(_) => "WS",
            Socket::Wss(_) => "WSS",
        };
        let privacy = self.privacy.map_or(String::new(), |p| format!("Privacy: {p}\r\n"));
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{to}@{bridge} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch}{round}{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: \"{name}\" <sip:+999{number}@example.com>;tag=f{round}\r\nTo: <sip:{to}@{bridge}>{}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{email}@{local}>\r\n\
             P-Asserted-Identity: \"{name}\" <sip:+999{number}@example.com>\r\nRemote-Party-ID: <sip:{number}@example.com>\r\n\
             Diversion: <sip:{number}@example.com>\r\nHistory-Info: <sip:{email}@example.com>;index=1\r\n\
             Reply-To: <sip:{email}@example.com>\r\nCall-Info: <https://example.com/{profile}>;purpose=card\r\n\
             Subject: {profile}\r\n{privacy}{kind}Content-Length: {}\r\n\r\n{body}",
            self.to_tag,
            body.len()
        )
    }

    fn offer(&self) -> String {
        let Identity { name, email, profile, .. } = &self.identity;
        let port = self.media.as_ref().map_or(9, |[rtp, _]| rtp.local_addr().unwrap().port());
        format!(
            "v=0\r\no={name} 1 1 IN IP4 127.0.0.1\r\ns={name}\r\ni={profile}\r\nu=https://example.com/{profile}\r\n\
             e={email}@example.com\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        )
    }

    /// Takes RTP and RTCP from the next call on.
    pub fn listen(&mut self) {
        self.media = Some(until("a pair of ports", || {
            let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let rtcp =
                UdpSocket::bind(("127.0.0.1", rtp.local_addr().unwrap().port().checked_add(1)?)).ok()?;
            for socket in [&rtp, &rtcp] {
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            Some([rtp, rtcp])
        }));
    }

    /// A packet of RTP and one of RTCP.
    pub fn packets(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for socket in self.media.iter().flatten() {
            let mut buffer = [0; 2048];
            let len = socket.recv(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..len]);
        }
        all
    }

    /// The next call will be another one.
    pub fn again(&mut self) {
        self.round += 1;
        self.to_tag.clear();
    }

    /// Sends the INVITE.
    pub fn invite(&mut self) {
        let text = self.message("INVITE", "i", 1, &self.offer());
        self.send(&text);
    }

    /// Waits for the 200, without an ACK.
    pub fn await_answer(&mut self) {
        let answer = self.await_ok("INVITE");
        assert!(answer.contains(&self.identity.call_id));
        let to = answer.lines().find(|l| l.starts_with("To:")).expect("a To");
        self.to_tag = to[to.find(";tag=").expect("a tag")..].trim().to_owned();
        let info = answer.lines().find(|l| l.starts_with("Call-Info:"));
        self.link = info.and_then(|i| Some(i.split_once("#")?.1.split_once('>')?.0.to_owned()));
    }

    pub fn ack(&mut self) {
        let text = self.message("ACK", "a", 1, "");
        self.send(&text);
    }

    /// Presses a key, told by INFO.
    pub fn press(&mut self, key: &str) {
        self.pressed += 1;
        let (n, body) = (1 + self.pressed, format!("Signal={key}\r\nDuration=160\r\n"));
        let text = self.message("INFO", &format!("k{n}"), n, &body);
        self.send(&text.replace("application/sdp", "application/dtmf-relay"));
        self.await_ok("INFO");
    }

    /// Asks the bridge for its capabilities.
    pub fn options(&mut self) {
        let text = self.message("OPTIONS", "o", 2 + self.pressed, "");
        self.send(&text);
        self.await_ok("OPTIONS");
    }

    pub fn bye(&mut self) {
        let text = self.message("BYE", "b", 3 + self.pressed, "");
        self.send(&text);
        self.await_ok("BYE");
    }
}

/// A WebSocket message's text.
fn take(message: Message, buffer: &mut [u8]) -> usize {
    let data = message.into_data();
    buffer[..data.len()].copy_from_slice(&data);
    data.len()
}

/// A host with a key, who watches.
pub fn host(bridge: &Bridge) -> Host {
    let secret = vault::opener::ViewerSecret::generate().unwrap();
    let (x, y) = secret.coordinates();
    let body = format!(r#"{{"jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#);
    let url = format!("http://{}/v1/viewer-keys", bridge.http);
    let (status, text) = curl_with("POST", &url, Some(TOKEN), Some(&body));
    assert_eq!(status, 201, "{text}");
    let registered: serde_json::Value = serde_json::from_str(&text).unwrap();
    let word = |name: &str| registered[name].as_str().unwrap().to_owned();
    let key = secret.take(&word("jwe")).unwrap();
    Host { feed: bridge.watch("confproof"), key, id: word("id"), http: bridge.http }
}
