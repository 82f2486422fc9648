//! Callers of made-up identities over UDP and TCP, each message written by hand so that every header that can name somebody does.

use super::canary::Identity;
use crate::harness::{Bridge, Feed, PATIENCE, TOKEN, curl_with, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

/// One caller, with a socket of their own.
pub struct Caller {
    pub identity: Identity,
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

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Caller {
    pub fn new(udp: SocketAddr, tcp: Option<SocketAddr>, privacy: Option<&'static str>) -> Self {
        let bridge = tcp.unwrap_or(udp);
        let (socket, local) = if tcp.is_some() {
            let stream = TcpStream::connect(bridge).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let local = stream.local_addr().unwrap();
            (Socket::Tcp(stream), local)
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(bridge).unwrap();
            let local = socket.local_addr().unwrap();
            (Socket::Udp(socket), local)
        };
        Self {
            identity: Identity::new(),
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

    fn send(&mut self, text: &str) {
        match &mut self.socket {
            Socket::Udp(socket) => assert_eq!(socket.send(text.as_bytes()).unwrap(), text.len()),
            Socket::Tcp(stream) => stream.write_all(text.as_bytes()).unwrap(),
        }
    }

    /// The 200 to a request of this method.
    fn await_ok(&mut self, method: &str) -> String {
        until(&format!("a 200 to {method}"), || {
            let mut buffer = [0; 8192];
            let len = match &mut self.socket {
                Socket::Udp(socket) => socket.recv(&mut buffer).unwrap(),
                // On loopback a response that was sent whole is read whole, perhaps with others.
                Socket::Tcp(stream) => stream.read(&mut buffer).unwrap(),
            };
            self.heard.extend_from_slice(&buffer[..len]);
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            let mut responses = text.split("SIP/2.0 ").filter(|r| r.starts_with("200 "));
            let is_it = |r: &&str| r.lines().any(|l| l.starts_with("CSeq:") && l.ends_with(method));
            let found = responses.find(is_it).map(str::to_owned);
            found.filter(|r| method != "INVITE" || r.contains(&format!(";tag=f{}\r\n", self.round)))
        })
    }

    fn message(&self, method: &str, branch: &str, cseq: u32, body: &str) -> String {
        let Identity { name, number, email, profile, call_id } = &self.identity;
        let (local, bridge, round) = (self.local, self.bridge, self.round);
        let transport = if matches!(self.socket, Socket::Tcp(_)) { "TCP" } else { "UDP" };
        let privacy = self.privacy.map_or(String::new(), |p| format!("Privacy: {p}\r\n"));
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:confproof@{bridge} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK{branch}{round}{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: \"{name}\" <sip:+999{number}@example.com>;tag=f{round}\r\nTo: <sip:confproof@{bridge}>{}\r\n\
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

/// A host with a key, who watches.
pub fn host(bridge: &Bridge) -> Feed {
    let secret = vault::opener::ViewerSecret::generate().unwrap();
    let (x, y) = secret.coordinates();
    let body = format!(r#"{{"jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#);
    let url = format!("http://{}/v1/viewer-keys", bridge.http);
    assert_eq!(curl_with("POST", &url, Some(TOKEN), Some(&body)).0, 201);
    bridge.watch("confproof")
}
