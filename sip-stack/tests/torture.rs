//! RFC 4475: every message of the RFC, read as exact bytes. Well-formed ones come out with the right fields; the others
//! get the refusal that the RFC names.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use sip_stack::dialog::Flow;
use sip_stack::endpoint::{Endpoint, Limits};
use sip_stack::message::headers::LocalAddress;
use sip_stack::message::lexer::decimal;
use sip_stack::message::uri::{Host, Scheme};
use sip_stack::message::values::{NameAddr, Via, cseq, list};
use sip_stack::message::{AddressBook, Message, Method, Name, Origin, Protocol, Reader, Start, TrunkId};
use sip_stack::transaction::Times;
use std::path::PathBuf;
use std::time::Instant;
use vault::{Policy, Region, Vault};

/// The folder with the RFC's messages; they are not part of this tree.
fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = [root.join("shared/data/sip-torture"), root.join("main/../shared/data/sip-torture")];
    let folder = found.into_iter().find(|f| f.is_dir());
    if folder.is_none() {
        println!("passed over: the RFC 4475 messages are not at hand");
    }
    folder
}

struct Stack {
    endpoint: Endpoint,
    reader: Reader,
    region: Region,
    flow: Flow,
}

impl Stack {
    fn new() -> Self {
        let vault = Vault::open(Policy::AllowWeaker).unwrap();
        let book = AddressBook { numbers: vec![], adhoc_prefix: Some("conf".into()) };
        Self {
            endpoint: Endpoint::new(Times::default(), Limits::default()),
            reader: Reader::new(&vault, book).unwrap(),
            region: vault.region().unwrap(),
            flow: Flow {
                remote: "192.0.2.1:5060".parse().unwrap(),
                local: "192.0.2.9:5060".parse().unwrap(),
                connection: 0,
                protocol: Protocol::Udp,
                trunk: TrunkId::default(),
            },
        }
    }

    /// The last response to a datagram: its status, or `None` for silence.
    fn answer(&mut self, bytes: &[u8]) -> Option<u16> {
        self.region
            .receive(|buffer| {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok((bytes.len(), ()))
            })
            .unwrap();
        let origin = Origin {
            at: std::time::SystemTime::now(),
            source: self.flow.remote,
            protocol: Protocol::Udp,
            trunk: TrunkId::default(),
            trusted: false,
            withhold: Default::default(),
        };
        let reader = &self.reader;
        let read = self.region.run(|i| reader.read(i.secrets, i.rx, origin)).expect("no panic");
        if let Ok(incoming) = read {
            self.endpoint.receive(Instant::now(), self.flow, incoming);
        }
        let mut status = None;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let local =
                LocalAddress { address: self.flow.local, protocol: Protocol::Udp, trunk: TrunkId::default() };
            let len =
                self.region.run(|i| transmit.wire.write(i.secrets, reader, local, i.tx)).unwrap().unwrap();
            self.region.composed(len);
            status = self.region.transmit(|b| decimal(&b[8..11])).map(|s| s as u16);
        }
        status
    }
}

#[test]
fn every_message_gets_what_the_rfc_names_and_none_panics() {
    let Some(folder) = folder() else { return };
    // `None`: silence, for responses. 100: a call that goes on. What the RFC leaves open is said here.
    let expected: &[(&str, &[Option<u16>])] = &[
        // 3.1.1 well-formed; their Request-URIs are none of ours, which is for the user to say, so calls go on.
        // wsinv has a To tag, so it belongs to a dialog that we do not have.
        ("wsinv", &[Some(481)]),
        ("intmeth", &[Some(501)]),
        ("esc01", &[Some(100)]),
        ("escnull", &[Some(405)]),
        ("esc02", &[Some(501)]),
        ("lwsdisp", &[Some(200)]),
        ("longreq", &[Some(100)]),
        ("dblreq", &[Some(405)]),
        ("semiuri", &[Some(200)]),
        ("transports", &[Some(200)]),
        ("mpart01", &[Some(405)]),
        ("unreason", &[None]),
        ("noreason", &[None]),
        // 3.1.2 malformed.
        ("badinv01", &[Some(400)]),
        ("clerr", &[Some(400)]),
        ("ncl", &[Some(400)]),
        ("scalar02", &[Some(400)]),
        ("scalarlg", &[None]),
        ("quotbal", &[Some(400)]),
        ("ltgtruri", &[Some(400)]),
        ("lwsruri", &[Some(400)]),
        ("lwsstart", &[Some(400)]),
        ("trws", &[Some(400)]),
        ("escruri", &[Some(400)]),
        ("baddate", &[Some(400)]),
        ("regbadct", &[Some(400)]),
        ("badaspec", &[Some(400)]),
        ("baddn", &[Some(400)]),
        ("badvers", &[Some(505)]),
        ("mismatch01", &[Some(400)]),
        ("mismatch02", &[Some(400), Some(501)]),
        ("bigcode", &[None]),
        // 3.2 transaction layer: no id behind the cookie; may be treated as an RFC 2543 request.
        ("badbranch", &[Some(200), Some(400)]),
        // 3.3 application layer.
        ("insuf", &[Some(400)]),
        ("unkscm", &[Some(416)]),
        ("novelsc", &[Some(416)]),
        // A registrar's affair: we are none.
        ("unksm2", &[Some(405), Some(400)]),
        ("bext01", &[Some(420)]),
        ("invut", &[Some(415)]),
        ("regaut01", &[Some(405)]),
        ("multi01", &[Some(400)]),
        ("mcl01", &[Some(400)]),
        ("bcast", &[None]),
        ("zeromf", &[Some(200)]),
        ("cparam01", &[Some(405)]),
        ("cparam02", &[Some(405)]),
        ("regescrt", &[Some(405)]),
        ("sdp01", &[Some(406)]),
        // 3.4 backward compatibility.
        ("inv2543", &[Some(100)]),
        // In the RFC's archive, but of no section: no `SIP/2.0` in the start line.
        ("test", &[None, Some(400)]),
    ];
    let mut wrong = Vec::new();
    for (name, allowed) in expected {
        let bytes = std::fs::read(folder.join(format!("{name}.dat"))).unwrap();
        let got = Stack::new().answer(&bytes);
        if !allowed.contains(&got) {
            wrong.push(format!("{name}: {got:?}, not {allowed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "dat"));
    assert_eq!(files.count(), expected.len(), "a message is not judged");
}

#[test]
fn well_formed_messages_come_out_with_the_right_fields() {
    let Some(folder) = folder() else { return };
    let read = |name: &str| std::fs::read(folder.join(format!("{name}.dat"))).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    // 3.1.1.1: white space, folds, compact names, any case, quoted text, unknown header fields.
    let mut bytes = read("wsinv");
    let m = Message::lex(&mut bytes).unwrap();
    assert!(m.fault.is_none());
    let Start::Request { method: Method::Invite, uri, .. } = m.start else { panic!("wsinv") };
    assert_eq!(uri, b"sip:vivekg@chair-dnrc.example.com;unknownparam");
    let to = NameAddr::parse(m.first(Name::To).unwrap()).unwrap();
    assert_eq!(
        (to.uri_text, to.tag()),
        (&b"sip:vivekg@chair-dnrc.example.com"[..], Some(&b"1918181833n"[..]))
    );
    let from = NameAddr::parse(m.first(Name::From).unwrap()).unwrap();
    assert_eq!(text(from.display), r#""J Rosenberg \\\"""#);
    assert_eq!(from.tag(), Some(&b"98asjd8"[..]));
    assert_eq!(decimal(m.first(Name::MaxForwards).unwrap()), Some(68));
    let (number, method, _) = cseq(m.first(Name::CSeq).unwrap()).unwrap();
    assert_eq!((number, method), (9, Method::Invite));
    let vias: Vec<_> = m.all(Name::Via).filter_map(list).flatten().map(|v| Via::parse(v).unwrap()).collect();
    assert_eq!(vias.len(), 3);
    assert!(matches!(vias[0].host, Host::Ip(ip) if ip.to_string() == "192.0.2.2"));
    assert_eq!(vias[0].branch(), Some(&b"390skdjuw"[..]).filter(|_| false), "no cookie: an RFC 2543 id");
    assert_eq!(vias[1].branch(), Some(&b"z9hG4bK9ikj8"[..]));
    assert_eq!(vias[2].branch(), Some(&b"z9hG4bK30239"[..]));
    assert_eq!(m.all(Name::Route).count(), 1);
    assert_eq!(m.body.len(), 150);

    // 3.1.1.2: a method, names and a URI of every legal character.
    let mut bytes = read("intmeth");
    let m = Message::lex(&mut bytes).unwrap();
    assert!(m.fault.is_none());
    let Start::Request { method: Method::Unknown, name, uri } = m.start else { panic!("intmeth") };
    assert_eq!(text(name), "!interesting-Method0123456789_*+`.%indeed'~");
    let uri = sip_stack::message::uri::Uri::parse(uri).unwrap();
    assert_eq!(text(uri.user.unwrap()), "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*");
    assert!(matches!(uri.host, Some(Host::Name(b"example.com"))));
    let to = NameAddr::parse(m.first(Name::To).unwrap()).unwrap();
    assert_eq!(text(to.display), "\"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\"");

    // 3.1.1.3 and 3.1.1.4: escapes, that of NUL among them.
    let mut bytes = read("esc01");
    let m = Message::lex(&mut bytes).unwrap();
    let Start::Request { uri, .. } = m.start else { panic!("esc01") };
    assert_eq!(text(uri), "sip:sips%3Auser%40example.com@example.net");
    let mut user = Vec::new();
    let uri = sip_stack::message::uri::Uri::parse(uri).unwrap();
    sip_stack::message::uri::unescape(uri.user.unwrap(), &mut user);
    assert_eq!((uri.scheme, text(&user).as_str()), (Scheme::Sip, "sips:user@example.com"));
    let mut bytes = read("escnull");
    let m = Message::lex(&mut bytes).unwrap();
    let contacts: Vec<_> = m.all(Name::Contact).map(|c| NameAddr::parse(c).unwrap()).collect();
    assert_eq!(contacts.len(), 2);
    assert_eq!(text(contacts[0].uri_text), "sip:%00@host5.example.com");

    // 3.1.1.5: percent signs that are no escapes, in the method and in tags.
    let mut bytes = read("esc02");
    let m = Message::lex(&mut bytes).unwrap();
    let Start::Request { method: Method::Unknown, name, .. } = m.start else { panic!("esc02") };
    assert_eq!(text(name), "RE%47IST%45R");

    // 3.1.1.6: no white space between display name and bracket.
    let mut bytes = read("lwsdisp");
    let m = Message::lex(&mut bytes).unwrap();
    let from = NameAddr::parse(m.first(Name::From).unwrap()).unwrap();
    assert_eq!((text(from.display), text(from.uri_text)), ("caller".into(), "sip:caller@example.com".into()));

    // 3.1.1.7: long values.
    let mut bytes = read("longreq");
    let m = Message::lex(&mut bytes).unwrap();
    assert!(m.fault.is_none());
    let to = NameAddr::parse(m.first(Name::To).unwrap()).unwrap();
    assert!(to.display.starts_with(b"\"I have a user name of extreme") && to.uri.params.len() > 300);
    assert_eq!((to.uri.user, to.uri.port), (Some(&b"user"[..]), Some(6000)));
    let from = NameAddr::parse(m.first(Name::From).unwrap()).unwrap();
    assert_eq!((from.uri.user.unwrap().len(), from.tag().unwrap().len()), (115, 155));
    assert_eq!(m.all(Name::Via).filter_map(list).flatten().count(), 34);

    // 3.1.1.8: two requests in a datagram: the first counts.
    let mut bytes = read("dblreq");
    let m = Message::lex(&mut bytes).unwrap();
    let Start::Request { method: Method::Register, .. } = m.start else { panic!("dblreq") };
    assert!(m.fault.is_none() && m.body.is_empty());

    // 3.1.1.9: a semicolon in the user part.
    let mut bytes = read("semiuri");
    let m = Message::lex(&mut bytes).unwrap();
    let Start::Request { method: Method::Options, uri, .. } = m.start else { panic!("semiuri") };
    let uri = sip_stack::message::uri::Uri::parse(uri).unwrap();
    assert_eq!(text(uri.user.unwrap()), "user;par=u%40example.net");
    assert!(uri.params.is_empty());

    // 3.1.1.10: five transports.
    let mut bytes = read("transports");
    let m = Message::lex(&mut bytes).unwrap();
    let names: Vec<_> = m.all(Name::Via).map(|v| text(Via::parse(v).unwrap().transport)).collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);

    // 3.1.1.11: a binary multipart body with a NUL and bare line feeds.
    let mut bytes = read("mpart01");
    let m = Message::lex(&mut bytes).unwrap();
    let Start::Request { method: Method::Message, .. } = m.start else { panic!("mpart01") };
    assert_eq!(m.body.len(), decimal(m.first(Name::ContentLength).unwrap()).unwrap() as usize);
    assert!(m.body.contains(&0));

    // 3.1.1.12 and 13: an odd and an empty reason phrase.
    for (name, expected) in [("unreason", 200), ("noreason", 100)] {
        let mut bytes = read(name);
        let m = Message::lex(&mut bytes).unwrap();
        assert!(matches!(m.start, Start::Response { status } if status == expected), "{name}");
    }
}
