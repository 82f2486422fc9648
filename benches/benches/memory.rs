//! Memory of a call's dialog and its row in the roster, by what the C library's allocator has handed out (`mallinfo2`): with three sealed values and
//! the copies for the caller's own act. The floor is the INVITE's own length, which a bridge that keeps the message keeps.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use sip_stack::endpoint::{Event, Limits};
use sip_stack::message::headers::LocalAddress;
use sip_stack::message::{Origin, ReplyExtras};
use sip_stack::sdp::{self, Capabilities};
use sip_stack::transaction::Times;
use sip_stack::{AddressBook, Endpoint, Reader, Said};
use sotto::audit::Audit;
use sotto::disclosure::{Identity, Value};
use sotto::roster::{Roster, Sound};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use vault::{Becomes, Context, Kind, Policy, Vault};

#[global_allocator]
static ALLOCATOR: vault::Allocator = vault::Allocator;

const CALLS: usize = 10_000;
const PEER: &str = "192.0.2.1:5060";

/// Bytes handed out now, allocator's own overhead included.
fn held() -> usize {
    // SAFETY: a plain call of the C library.
    unsafe { libc::mallinfo2() }.uordblks
}

fn invite(n: usize) -> String {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    format!(
        "INVITE sip:confx@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK{n:016};rport\r\nRecord-Route: <sip:192.0.2.7;lr>\r\n\
         Max-Forwards: 70\r\nFrom: \"Anna Example\" <sip:+12025550100@example.com>;tag=f{n}\r\nTo: <sip:confx@example.com>\r\nCall-ID: {n:032}@example.com\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:+12025550100@{PEER}>\r\nCall-Info: <https://example.com/anna>;purpose=card\r\n\
         P-Asserted-Identity: \"Anna Example\" <sip:+12025550100@example.com>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

struct House {
    vault: Vault,
    region: vault::Region,
    reader: Reader,
    endpoint: Endpoint,
    roster: Roster,
    now: Instant,
}

impl House {
    fn receive(&mut self, text: &str) {
        self.region
            .receive(|buffer| {
                buffer[..text.len()].copy_from_slice(text.as_bytes());
                Ok((text.len(), ()))
            })
            .unwrap();
        let source: SocketAddr = PEER.parse().unwrap();
        let origin = Origin {
            at: std::time::SystemTime::now(),
            source,
            protocol: sip_stack::transport::Protocol::Udp,
            trunk: Default::default(),
            trusted: true,
            withhold: Default::default(),
        };
        let reader = &self.reader;
        let incoming = self.region.run(|i| reader.read(i.secrets, i.rx, origin)).unwrap().unwrap();
        let local = "192.0.2.9:5060".parse().unwrap();
        let flow = sip_stack::dialog::Flow {
            remote: source,
            local,
            connection: 0,
            protocol: sip_stack::transport::Protocol::Udp,
            trunk: Default::default(),
        };
        self.endpoint.receive(self.now, flow, incoming);
    }

    /// Answers the call that waits and puts it into the roster; what is kept for the caller's own act comes back, as its focus keeps it.
    fn join(&mut self) -> Option<(impl Sized + use<>, String)> {
        while self.endpoint.poll_transmit().is_some() {}
        let Some(Event::Invite(mut invite)) = self.endpoint.poll_event() else { return None };
        let audio = sdp::answer(invite.offer.as_ref()?, &Capabilities::default(), false).ok()?.0;
        let rtp = "192.0.2.9:30000".parse().unwrap();
        self.endpoint.accept(self.now, invite.call, rtp, audio, ReplyExtras::default());
        let answer = self.sent()?;
        let to = answer.lines().find(|l| l.starts_with("To:"))?;
        let tag = to.split_once(";tag=")?.1.to_owned();
        let (call, subject) = (invite.call.0, invite.subject);
        let caller = invite.caller.as_mut()?;
        let (ring, keys) = (self.reader.ring(), self.roster.keys());
        fn value<T: Kind, O: Becomes<T>>(
            said: &Said<T, O>,
            call: u64,
            subject: u64,
            from: &vault::Keyring,
            to: &vault::Keyring,
        ) -> Value<T> {
            let there = Context { scope: 0, subject, field: O::FIELD };
            let here = Context { scope: 1, subject: call, field: T::FIELD };
            let sealed = said.own.sealed.as_ref().map(|s| s.adopt(from, there, to, here).unwrap());
            Value::new(said.status, sealed, here, said.asserted)
        }
        let identity = Identity {
            name: value(&caller.name, call, subject, ring, keys),
            number: value(&caller.number, call, subject, ring, keys),
            profile: value(&caller.profile, call, subject, ring, keys),
            fields: Vec::new(),
        };
        self.roster.join(identity);
        use std::mem::take;
        let own = (take(&mut caller.name.own), take(&mut caller.number.own), take(&mut caller.profile.own));
        Some((own, tag))
    }

    /// The next message's text.
    fn sent(&mut self) -> Option<String> {
        let transmit = self.endpoint.poll_transmit()?;
        let local = LocalAddress {
            address: transmit.flow.local,
            protocol: sip_stack::transport::Protocol::Udp,
            trunk: Default::default(),
        };
        let reader = &self.reader;
        let len = self.region.run(|i| transmit.wire.write(i.secrets, reader, local, i.tx)).ok()?.ok()?;
        self.region.composed(len);
        Some(self.region.transmit(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }
}

fn main() {
    vault::heap::share();
    let folder = std::env::temp_dir().join(format!("sotto-memory-{}", std::process::id()));
    let vault = Vault::open(Policy::AllowWeaker).unwrap();
    let book = AddressBook { numbers: Vec::new(), adhoc_prefix: Some("conf".into()) };
    let mut house = House {
        region: vault.region().unwrap(),
        reader: Reader::new(&vault, book).unwrap(),
        endpoint: Endpoint::new(Times::default(), Limits { unanswered: CALLS + 1, ..Limits::default() }),
        roster: Roster::new(
            "confx".into(),
            CALLS,
            Sound::default(),
            vault.keyring().unwrap(),
            Audit::open(&folder).unwrap(),
        ),
        now: Instant::now(),
        vault,
    };
    let before = held();
    let (mut kept, mut peak) = (Vec::with_capacity(CALLS), 0);
    for n in 0..CALLS {
        let text = invite(n);
        house.receive(&text);
        let (own, tag) = house.join().expect("a call");
        kept.push(own);
        drop(text);
        if n == CALLS / 10 - 1 {
            // So many have just been answered: their transactions are still there.
            peak = (held() - before) / (n + 1);
        }
        // Time passes: INVITE transactions end after 64 × T1, and nobody repeats a 200 for ever.
        house.now += Duration::from_millis(5);
        while house.endpoint.poll_timeout().is_some_and(|at| at <= house.now) {
            let at = house.endpoint.poll_timeout().unwrap();
            house.endpoint.handle_timeout(at);
            while house.endpoint.poll_transmit().is_some() {}
        }
        let ack = invite(n)
            .replace("INVITE sip", "ACK sip")
            .replace("1 INVITE", "1 ACK")
            .replace("branch=", "branch=z9hG4bKa");
        let ack =
            ack.replace("To: <sip:confx@example.com>", &format!("To: <sip:confx@example.com>;tag={tag}"));
        house.receive(&ack);
        while house.endpoint.poll_event().is_some() {}
    }
    house.now += Duration::from_secs(64);
    while house.endpoint.poll_timeout().is_some_and(|at| at <= house.now) {
        let at = house.endpoint.poll_timeout().unwrap();
        house.endpoint.handle_timeout(at);
        while house.endpoint.poll_transmit().is_some() {}
    }
    while house.endpoint.poll_event().is_some() {}
    let [calls, server, client, timers] = house.endpoint.kept();
    assert_eq!(
        (calls, server, client, timers),
        (CALLS, 0, 0, CALLS),
        "calls are left, each with its session's timer"
    );
    assert_eq!((house.roster.len(), kept.len()), (CALLS, CALLS));
    let each = (held() - before) / CALLS;
    let floor = invite(0).len();
    println!("| what | bytes | floor | ratio |\n|---|---|---|---|");
    println!(
        "| a call's dialog, row and own values | {each} | {floor} | {:.2} |",
        each as f64 / floor as f64
    );
    println!(
        "| the same with its transactions, just answered | {peak} | {floor} | {:.2} |",
        peak as f64 / floor as f64
    );
    println!("| protected memory of all | {} | – | – |", house.vault.status().locked_bytes);
    let _ = std::fs::remove_dir_all(folder);
}
