//! SIP over WebSocket (RFC 7118): a call from INVITE to BYE, as a browser's SIP library makes it.

use crate::harness::{Bridge, PATIENCE, Setup};
use std::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::IntoClientRequest};

fn connect(bridge: &Bridge, protocol: &str) -> Result<WebSocket<TcpStream>, String> {
    let to = bridge.also.unwrap();
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("ws://{to}/").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    tungstenite::client(request, stream).map(|(socket, _)| socket).map_err(|e| e.to_string())
}

/// The next message that is no 100.
fn next(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) if !text.starts_with("SIP/2.0 100") => return text.to_string(),
            _ => {}
        }
    }
}

/// The To tag of an answer.
fn tag_of(answer: &str) -> String {
    let to = answer.lines().find(|l| l.starts_with("To: ")).unwrap();
    to.split("tag=").nth(1).unwrap().to_owned()
}

fn request(method: &str, tag: &str, cseq: u32, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    // Browsers know neither their address nor their port, and write a name that leads nowhere (RFC 7118 section 5).
    format!(
        "{method} sip:confweb@bridge.example.com SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{method}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:ada@example.com>;tag=w1\r\nTo: <sip:confweb@bridge.example.com>{tag}\r\nCall-ID: web1\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:ada@df7jal23ls0d.invalid;transport=ws>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

#[test]
fn a_call_by_websocket_is_answered_hung_up_by_us_and_kept_alive() {
    let bridge = Bridge::with(&Setup { also: ", \"ws://127.0.0.1:0\"", ..Setup::default() });
    let mut socket = connect(&bridge, "sip").unwrap();
    let say = |socket: &mut WebSocket<TcpStream>, text: String| socket.send(Message::text(text)).unwrap();
    say(&mut socket, request("OPTIONS", "", 1, ""));
    assert!(next(&mut socket).starts_with("SIP/2.0 200 OK"));
    say(&mut socket, request("INVITE", "", 2, SDP));
    let ok = next(&mut socket);
    assert!(ok.starts_with("SIP/2.0 200 OK") && ok.contains(";transport=ws>;isfocus"), "{ok}");
    let tag = format!(";tag={}", tag_of(&ok));
    say(&mut socket, request("ACK", &tag, 2, ""));
    let rows = bridge.await_live("confweb", 1);
    say(&mut socket, "\r\n\r\n".into());
    assert_eq!(next(&mut socket), "\r\n", "RFC 5626 section 4.4.1");
    let path = format!("/v1/conferences/confweb/participants/{}/remove", rows[0]["id"].as_str().unwrap());
    assert_eq!(bridge.ask("POST", &path).0 / 100, 2);
    let bye = next(&mut socket);
    assert!(
        bye.starts_with("BYE sip:ada@df7jal23ls0d.invalid;transport=ws SIP/2.0")
            && bye.contains("Via: SIP/2.0/WS "),
        "{bye}"
    );
    let line = |name: &str| bye.lines().find(|l| l.starts_with(name)).unwrap();
    let answer =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|n| format!("{}\r\n", line(&format!("{n}:")))).concat();
    say(&mut socket, format!("SIP/2.0 200 OK\r\n{answer}Content-Length: 0\r\n\r\n"));
    bridge.await_metric("sotto_calls", 0);
    say(&mut socket, request("BYE", &tag, 3, ""));
    assert!(next(&mut socket).starts_with("SIP/2.0 481"), "the call is over");
    assert!(connect(&bridge, "chat").is_err(), "another subprotocol");
}

#[test]
fn a_call_takes_the_place_of_another_and_its_participant_goes() {
    let bridge = Bridge::with(&Setup { also: ", \"ws://127.0.0.1:0\"", ..Setup::default() });
    let mut socket = connect(&bridge, "sip").unwrap();
    let say = |socket: &mut WebSocket<TcpStream>, text: String| socket.send(Message::text(text)).unwrap();
    say(&mut socket, request("INVITE", "", 1, SDP));
    let tag = tag_of(&next(&mut socket));
    say(&mut socket, request("ACK", &format!(";tag={tag}"), 1, ""));
    let first = bridge.await_live("confweb", 1);
    // Another number is dialled; the place is the other call's.
    let replaces = format!("Replaces: web1;to-tag={tag};from-tag=w1\r\nContent-Type");
    let second = request("INVITE", "", 2, SDP).replace("Call-ID: web1", "Call-ID: web2");
    say(
        &mut socket,
        second.replace("sip:confweb@bridge", "sip:confother@bridge").replace("Content-Type", &replaces),
    );
    let messages = [next(&mut socket), next(&mut socket)];
    let ok = messages.iter().find(|m| m.starts_with("SIP/2.0 200")).expect("answered");
    assert!(
        messages.iter().any(|m| m.starts_with("BYE ") && m.contains("Call-ID: web1\r\n")),
        "{messages:?}"
    );
    let ack =
        request("ACK", &format!(";tag={}", tag_of(ok)), 2, "").replace("Call-ID: web1", "Call-ID: web2");
    say(&mut socket, ack);
    let now = bridge.await_live("confweb", 1);
    assert_ne!(now[0]["id"], first[0]["id"]);
    assert!(bridge.roster("confother").is_empty());
}
