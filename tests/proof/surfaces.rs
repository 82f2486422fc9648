//! A walk along all surfaces, with made-up identities among those who share, who withhold, and who only try.

use crate::callers::{Caller, Host, Ways};
use crate::canary::{Identity, Needles};
use crate::harness::{Bridge, Process, Setup, TOKEN, curl_with, sotto, until};
use sotto::surface::Surface;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

const AUDITOR: &str = "a-token-of-an-auditor";
const ADMIN: &str = "a-token-of-an-admin";
const MONITOR: &str = "a-token-of-a-monitor";
const CONFERENCE: &str = "confproof";

/// What is walked, and what must be found there: a surface on which nothing is would prove nothing.
struct Shown {
    bytes: Vec<u8>,
    holds: &'static str,
}

struct House {
    bridge: Bridge,
    /// Shares all.
    shares: Caller,
    /// Withhold all: by the carrier's word, by each transport.
    withhold: [Caller; 5],
    /// Was dialled in, by a carrier.
    dialled: Identity,
    ways: Ways,
    /// In no meeting: what they say is refused.
    stranger: Identity,
    host: Host,
    /// What came by webhook.
    hooked: Arc<Mutex<Vec<u8>>>,
    /// A session of who shares.
    session: String,
    /// A request to read what one of them withholds.
    request: String,
}

/// What takes webhooks, and keeps all of them.
fn receiver() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = all.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            loop {
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let begins = head.len();
                    if reader.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                    if let Some(value) = head[begins..].strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if head.is_empty() || reader.read_exact(&mut body).is_err() {
                    break;
                }
                kept.lock().unwrap().extend(head.bytes().chain(body));
                if reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                    break;
                }
            }
        }
    });
    (port, all)
}

impl House {
    fn open() -> Self {
        let tokens = format!("{AUDITOR} role=auditor\n{ADMIN} role=admin\n{MONITOR} role=monitor\n");
        let (x, y) = vault::opener::ViewerSecret::generate().unwrap().coordinates();
        let folder = crate::harness::Folder::new();
        let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
        let key = folder.file("compliance.jwk", jwk);
        let ways = Ways::new();
        let secret = folder.file("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (port, hooked) = receiver();
        let more = format!(
            "trusted = true\npersonal_link = true\n{}[[webhook]]\nurl = \"http://127.0.0.1:{port}/\"\nsecret_file = \"{}\"\n\
             events = [\"joined\", \"updated\", \"left\", \"speaking\", \"conference\"]\n[disclosure]\ncompliance_key = \"{}\"\n{}",
            ways.trunk,
            secret.display(),
            key.display(),
            ways.dial
        );
        let setup = Setup {
            http: "public_url = \"https://meet.example.com\"",
            more: &more,
            also: ways.also,
            sip: &ways.sip,
            tokens: &tokens,
            log: "trace",
            ..Setup::default()
        };
        let bridge = Bridge::with(&setup);
        let shares = Caller::new(bridge.sip, None, None);
        let mut callers = vec![shares];
        callers.extend((0..5).map(|n| ways.caller(&bridge, n, [Some("user;id"), Some("id;header")][n % 2])));
        for caller in &mut callers {
            caller.listen();
            caller.invite();
            caller.await_answer();
            caller.ack();
        }
        bridge.await_live(CONFERENCE, 6);
        let host = crate::callers::host(&bridge);
        // Notified of the state over UDP and WSS; what is heard is looked at with the rest.
        callers[0].subscribe();
        callers[5].subscribe();
        host.dial(&ways.carrier.reaches());
        bridge.await_live(CONFERENCE, 7);
        let dialled = ways.carrier.people().remove(0);
        let shares = callers.remove(0);
        let withhold = callers.try_into().ok().unwrap();
        let link = format!(r#"{{"link":"{}"}}"#, shares.link.as_ref().expect("a link in the answer"));
        let url = format!("http://{}/v1/me/session", bridge.http);
        let (status, text) = curl_with("POST", &url, None, Some(&link));
        assert_eq!(status, 201, "{text}");
        let opened: serde_json::Value = serde_json::from_str(&text).unwrap();
        let session = opened["token"].as_str().unwrap().to_owned();
        Self {
            bridge,
            shares,
            withhold,
            dialled,
            ways,
            stranger: Identity::new(),
            host,
            hooked,
            session,
            request: String::new(),
        }
    }

    fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> (u16, String) {
        curl_with(method, &format!("http://{}{path}", self.bridge.http), token, body)
    }

    /// The answers to host and auditor, together.
    fn get(&self, surface: Surface) -> Vec<u8> {
        let path = surface.path().unwrap().replace("{id}", CONFERENCE);
        let both = [TOKEN, AUDITOR].map(|token| self.ask("GET", &path, Some(token), None));
        assert!(both.iter().all(|(status, _)| *status == 200), "{both:?}");
        both.map(|(_, text)| text).concat().into_bytes()
    }

    fn admin(&self, surface: Surface) -> Vec<u8> {
        let url = format!("http://{}{}", self.bridge.admin, surface.path().unwrap());
        let (status, text) = curl_with("GET", &url, None, None);
        assert_eq!(status, 200);
        text.into_bytes()
    }

    /// What a surface shows now. Each surface has its way here.
    fn walk(&mut self, surface: Surface) -> Shown {
        let shown = |bytes: Vec<u8>, holds| Shown { bytes, holds };
        match surface {
            Surface::Conferences => shown(self.get(surface), "\"participants\":7"),
            Surface::Roster => shown(self.get(surface), "Guest 3"),
            Surface::Description => shown(self.get(surface), "openapi"),
            Surface::Portal => shown(self.get(surface), "Sotto"),
            Surface::PortalAsset => {
                let page = self.ask("GET", "/", None, None).1;
                let name = page.split("/assets/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
                let Identity { name: strange, .. } = &self.stranger;
                let answers =
                    [name, strange].map(|name| self.ask("GET", &format!("/assets/{name}"), None, None));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [200, 404]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "No such resource")
            }
            Surface::Login => {
                let Identity { name, number, email, .. } = &self.stranger;
                let bodies = [
                    format!(r#"{{"user":"{name}","password":"{number}"}}"#),
                    format!(r#"{{"user":"{email}","password":"{name}","otp":"{number}"}}"#),
                    format!(r#"{{"{email}":"{name}"}}"#),
                ];
                let answers = bodies.map(|body| self.ask("POST", surface.path().unwrap(), None, Some(&body)));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [401, 401, 400], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "one-time password is wrong")
            }
            Surface::Place => {
                let Identity { name, number, .. } = &self.stranger;
                let path =
                    |id: &str| surface.path().unwrap().replace("{id}", CONFERENCE).replace("{pid}", id);
                let good = Some(r#"{"place":"meeting"}"#);
                let strange = format!(r#"{{"place":"{name}"}}"#);
                let answers = [
                    self.ask("PUT", &path(number), Some(TOKEN), good),
                    self.ask("PUT", &path(&self.withhold[0].identity.name), Some(TOKEN), good),
                    self.ask("PUT", &path("p_x"), Some(TOKEN), Some(&strange)),
                ];
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [404, 404, 400]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "breakout-50")
            }
            Surface::Steer => {
                let Identity { name, number, .. } = &self.stranger;
                let path =
                    |of: &str| surface.path().unwrap().replace("{id}", CONFERENCE).replace("{action}", of);
                let all = [path(name), path(number), path("lock"), path("unlock")];
                let answers = all.map(|path| self.ask("POST", &path, Some(TOKEN), None));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [404, 404, 204, 204]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "No such control")
            }
            Surface::Title => {
                let Identity { name, .. } = &self.stranger;
                let path = surface.path().unwrap().replace("{id}", CONFERENCE);
                let bodies = [
                    format!(r#"{{"{name}":"x"}}"#),
                    format!(r#"{{"title":"{}"}}"#, name.repeat(20)),
                    r#"{"title":"Figures"}"#.to_owned(),
                ];
                let answers = bodies.map(|body| self.ask("PUT", &path, Some(TOKEN), Some(&body)));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [400, 400, 204], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "120 characters")
            }
            Surface::Fields => {
                let Identity { name, number, .. } = &self.stranger;
                let path =
                    |id: &str| surface.path().unwrap().replace("{id}", CONFERENCE).replace("{pid}", id);
                let clear = format!(r#"{{"fields":["{name}"]}}"#);
                let unsealed = format!(r#"{{"fields":[{{"jwe":"{name}"}}]}}"#);
                let answers = [
                    self.ask("PUT", &path(number), Some(TOKEN), Some(&clear)),
                    self.ask("PUT", &path(name), Some(TOKEN), Some(&unsealed)),
                ];
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [400, 404]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "240 characters")
            }
            Surface::Attendance => {
                let path = surface.path().unwrap().replace("{id}", CONFERENCE);
                let answers = ["GET", "DELETE"].map(|method| self.ask(method, &path, Some(TOKEN), None));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [404, 204]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "keeps no list")
            }
            Surface::OwnControl => {
                let Identity { name, .. } = &self.stranger;
                let path = |of: &str| surface.path().unwrap().replace("{action}", of);
                let own = Some(self.session.as_str());
                let answers = [
                    self.ask("POST", &path(name), own, None),
                    self.ask("POST", &path("mute"), own, None),
                    self.ask("POST", &path("unmute"), own, None),
                    self.ask("POST", &path("mute"), Some(TOKEN), None),
                ];
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [404, 200, 200, 403]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "\"hand\":true")
            }
            Surface::Oidc | Surface::OidcSession => {
                let Identity { name, number, .. } = &self.stranger;
                let body = format!(r#"{{"code":"{name}","state":"{number}"}}"#);
                let path = surface.path().unwrap();
                let answers = ["GET", "POST"].map(|method| self.ask(method, path, None, Some(&body)));
                assert!(answers.iter().all(|(status, _)| [404, 405].contains(status)), "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "signs people in here")
            }
            Surface::Tokens | Surface::Token => {
                let Identity { name, number, .. } = &self.stranger;
                let body = format!(r#"{{"{name}":"{number}"}}"#);
                let path = surface.path().unwrap().replace("{id}", name);
                let answers = [("POST", "/v1/tokens"), ("GET", "/v1/tokens"), ("DELETE", &path)]
                    .map(|(method, path)| self.ask(method, path, Some(TOKEN), Some(&body)));
                assert!(answers.iter().all(|(status, _)| [403, 405].contains(status)), "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "signed in with an account")
            }
            Surface::Bookings | Surface::Booking | Surface::BookingPins | Surface::BookingPin => {
                let Identity { name, number, .. } = &self.stranger;
                let path = surface.path().unwrap().replace("{id}", name).replace("{pin}", number);
                let body = format!(r#"{{"settings":{{"title":"{name}"}},"pin":"{number}"}}"#);
                let answers = ["POST", "GET", "PUT", "DELETE"]
                    .map(|method| self.ask(method, &path, Some(TOKEN), Some(&body)));
                assert!(
                    answers.iter().all(|(status, _)| [200, 403, 404, 405].contains(status)),
                    "{answers:?}"
                );
                let holds = match surface {
                    Surface::Bookings => "\"bookings\":[]",
                    _ => "You have made no such conference",
                };
                shown(answers.map(|(_, text)| text).concat().into_bytes(), holds)
            }
            Surface::OwnSession => shown(self.get(surface), "\"role\":\"host\""),
            Surface::Page => shown(self.get(surface), "What this meeting shows of you"),
            Surface::Invitations => {
                let path = |id: &str| surface.path().unwrap().replace("{id}", id);
                let Identity { name, number, .. } = &self.stranger;
                let answers =
                    [CONFERENCE, name, number].map(|id| self.ask("POST", &path(id), Some(TOKEN), None));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [201, 404, 404], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "/me#")
            }
            Surface::OwnKey => {
                let Identity { name, number, .. } = &self.stranger;
                let own = Some(self.session.as_str());
                let bad = format!(r#"{{"jwk":{{"kty":"EC","crv":"P-256","x":"{name}","y":"{number}"}}}}"#);
                let (x, y) = vault::opener::ViewerSecret::generate().unwrap().coordinates();
                let good = format!(r#"{{"jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#);
                let answers =
                    [bad, good].map(|body| self.ask("POST", surface.path().unwrap(), own, Some(&body)));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [400, 201], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "\"jwe\"")
            }
            Surface::OwnAudio => {
                let Identity { name, number, .. } = &self.stranger;
                let own = Some(self.session.as_str());
                let bodies = [
                    format!(r#"{{"sdp":"{name}"}}"#),
                    format!(r#"{{"{name}":"{number}"}}"#),
                    format!(r#"{{"sdp":"v=0","name":{{"jwe":"{name}"}}}}"#),
                ];
                let answers = bodies.map(|body| self.ask("POST", surface.path().unwrap(), own, Some(&body)));
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [409, 400, 409], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "by telephone")
            }
            Surface::Monitors => {
                let Identity { name, number, .. } = &self.stranger;
                let ask = |conference: &str, token, purpose: &str| {
                    let path = surface.path().unwrap().replace("{id}", conference);
                    self.ask("POST", &path, Some(token), Some(&format!(r#"{{"purpose":"{purpose}"}}"#)))
                };
                let answers = [
                    ask(CONFERENCE, MONITOR, &format!("{name}@{number}")),
                    ask(name, MONITOR, "case 17"),
                    ask(CONFERENCE, TOKEN, name),
                    ask(CONFERENCE, MONITOR, "case 17"),
                ];
                let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
                assert_eq!(statuses, [400, 404, 403, 201], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "\"number\":\"listen-")
            }
            Surface::LegalRequests => {
                let Identity { name, number, .. } = &self.stranger;
                let path = surface.path().unwrap();
                let ask = |token, participant: &str, purpose: &str| {
                    let body = format!(
                        r#"{{"conference":"{CONFERENCE}","participant":"{participant}","purpose":"{purpose}"}}"#
                    );
                    self.ask("POST", path, Some(token), Some(&body))
                };
                let row = self.bridge.roster(CONFERENCE)[1]["id"].as_str().unwrap().to_owned();
                let answers = [
                    ask(AUDITOR, name, "case 17"),
                    ask(AUDITOR, &row, &format!("{name}@{number}")),
                    ask(TOKEN, &row, name),
                    ask(AUDITOR, &row, "case 17"),
                ];
                let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
                assert_eq!(statuses, [404, 400, 403, 201], "{answers:?}");
                let opened: serde_json::Value = serde_json::from_str(&answers[3].1).unwrap();
                self.request = opened["id"].as_str().unwrap().to_owned();
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "waiting")
            }
            Surface::LegalApproval => {
                let path = |id: &str| surface.path().unwrap().replace("{id}", id);
                let answers = [(path(&self.stranger.name), ADMIN), (path(&self.request), AUDITOR)]
                    .map(|(path, token)| self.ask("POST", &path, Some(token), None));
                let right = self.ask("POST", &path(&self.request), Some(ADMIN), None);
                let statuses = (answers[0].0, answers[1].0, right.0);
                assert_eq!(statuses, (404, 403, 204), "{answers:?} {right:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "Somebody else")
            }
            Surface::LegalAccess => {
                // Who withholds, sealed for the key outside: that of the test, which is thrown away.
                let path = surface.path().unwrap().replace("{id}", &self.request);
                let (status, text) = self.ask("GET", &path, Some(AUDITOR), None);
                assert_eq!(status, 200, "{text}");
                assert_eq!(self.ask("GET", &path, Some(ADMIN), None).0, 404, "only who asked");
                shown(text.into_bytes(), "\"number\":\"ey")
            }
            Surface::Session => {
                let Identity { name, number, email, .. } = &self.stranger;
                // Links that are none, one that is used, and one that is right.
                let right = format!(r#"{{"link":"{}"}}"#, self.withhold[0].link.as_ref().unwrap());
                let bodies = [
                    format!(r#"{{"link":"{name}"}}"#),
                    format!(r#"{{"code":"{}"}}"#, &number[..10]),
                    format!(r#"{{"{email}":"{name}"}}"#),
                    right.clone(),
                    right,
                ];
                let answers = bodies.map(|body| self.ask("POST", "/v1/me/session", None, Some(&body)));
                let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
                assert_eq!(statuses, [401, 401, 400, 201, 410], "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "\"participant\":\"p_")
            }
            Surface::Me => {
                let path = surface.path().unwrap();
                let own = self.ask("GET", path, Some(&self.session), None);
                let others = [Some(TOKEN), Some(AUDITOR), Some(&self.stranger.name), None]
                    .map(|token| self.ask("GET", path, token, None));
                let statuses: Vec<_> = others.iter().map(|(status, _)| *status).collect();
                assert_eq!((own.0, &statuses[..]), (200, &[403, 403, 401, 401][..]), "{own:?} {others:?}");
                shown((own.1 + &others.map(|(_, text)| text).concat()).into_bytes(), "\"role\":\"host\"")
            }
            Surface::OwnDisclosure => {
                let path = surface.path().unwrap();
                let Identity { name, .. } = &self.stranger;
                let bad =
                    self.ask("PUT", path, Some(&self.session), Some(&format!(r#"{{"name":"{name}"}}"#)));
                let good = ["withhold", "share"].map(|wish| {
                    self.ask("PUT", path, Some(&self.session), Some(&format!(r#"{{"number":"{wish}"}}"#)))
                });
                assert_eq!((bad.0, good.each_ref().map(|(status, _)| *status)), (400, [200, 200]));
                shown((bad.1 + &good.map(|(_, text)| text).concat()).into_bytes(), "\"status\":\"withheld\"")
            }
            Surface::Health => shown(self.admin(surface), "ok"),
            Surface::Readiness => shown(self.admin(surface), "secret"),
            Surface::Metrics => shown(self.admin(surface), "sotto_calls 7"),
            Surface::Events => {
                // The snapshot and an event of every row, for a host with a key.
                let mut events = Vec::new();
                for row in self.bridge.roster(CONFERENCE) {
                    let id = row["id"].as_str().unwrap();
                    let path = format!("/v1/conferences/{CONFERENCE}/participants/{id}/mute");
                    assert_eq!(self.ask("POST", &path, Some(TOKEN), None).0, 204);
                    let is_it = |e: &serde_json::Value| {
                        e["participant"]["id"] == row["id"] && e["participant"]["muted"] == true
                    };
                    events.extend(self.host.feed.up_to("muted", is_it));
                }
                let jwes = events.iter().filter(|e| e["participant"]["name"]["jwe"].is_string()).count();
                assert!(jwes > 0 && events.iter().any(|e| e["participant"]["name"]["status"] == "withheld"));
                shown(format!("{events:?}").into_bytes(), "Guest 1")
            }
            Surface::Dial => {
                let Identity { name, number, .. } = &self.stranger;
                let path = surface.path().unwrap().replace("{id}", CONFERENCE);
                let bodies =
                    [format!(r#"{{"number":"{number}"}}"#), format!(r#"{{"number":{{"jwe":"{name}"}}}}"#)];
                let answers = bodies.map(|body| self.ask("POST", &path, Some(TOKEN), Some(&body)));
                assert!(answers.iter().all(|(status, _)| *status == 400), "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "E.164")
            }
            Surface::Trunks => {
                let answer = self.ask("GET", surface.path().unwrap(), Some(AUDITOR), None);
                assert_eq!(answer.0, 200);
                shown(answer.1.into_bytes(), "\"name\":\"test\"")
            }
            Surface::Control => {
                let Identity { name, number, .. } = &self.stranger;
                let path = |id: &str| format!("/v1/conferences/{CONFERENCE}/participants/{id}/mute");
                let answers = [path(name), path(number), path(&self.withhold[0].identity.name)]
                    .map(|path| self.ask("POST", &path, Some(TOKEN), None));
                assert!(answers.iter().all(|(status, _)| *status == 404), "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "No such participant")
            }
            Surface::Sound => {
                let Identity { name, number, .. } = &self.stranger;
                let path =
                    |id: &str| surface.path().unwrap().replace("{id}", CONFERENCE).replace("{pid}", id);
                let good = Some(r#"{"gain":3}"#);
                let strange = format!(r#"{{"{name}":"{number}"}}"#);
                let answers = [
                    self.ask("PUT", &path(name), Some(TOKEN), good),
                    self.ask("PUT", &path(number), Some(TOKEN), good),
                    self.ask("PUT", &path(&self.withhold[0].identity.name), Some(TOKEN), good),
                    self.ask("PUT", &path("p_x"), Some(TOKEN), Some(&strange)),
                ];
                assert_eq!(answers.each_ref().map(|(status, _)| *status), [404, 404, 404, 400]);
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "noise_suppression")
            }
            Surface::ViewerKeys => {
                let Identity { name, .. } = &self.stranger;
                let body =
                    format!(r#"{{"jwk":{{"kty":"{name}","crv":"{name}","x":"{name}","y":"{name}"}}}}"#);
                let bad = self.ask("POST", "/v1/viewer-keys", Some(TOKEN), Some(&body));
                assert_eq!(bad.0, 400);
                shown(bad.1.into_bytes(), "P-256")
            }
            Surface::ViewerKey => {
                let path = format!("/v1/viewer-keys/{}", self.stranger.name);
                let (status, text) = self.ask("DELETE", &path, Some(TOKEN), None);
                assert_eq!(status, 404);
                shown(text.into_bytes(), "key")
            }
            Surface::Problems => {
                let Identity { name, email, profile, number, .. } = &self.stranger;
                let answers = [
                    self.ask("GET", &format!("/{name}?{number}"), Some(TOKEN), None),
                    self.ask("GET", &format!("/v1/conferences/{name}/roster"), Some(TOKEN), None),
                    self.ask("GET", &format!("/v1/conferences/%ff{name}/roster"), Some(TOKEN), None),
                    self.ask(
                        "GET",
                        &format!("/v1/conferences/{CONFERENCE}/roster?viewer_key={email}"),
                        Some(TOKEN),
                        None,
                    ),
                    self.ask("GET", "/v1/conferences", Some(profile), None),
                    self.ask("PATCH", &format!("/v1/conferences/{name}/roster"), Some(TOKEN), Some(name)),
                    self.ask(
                        "POST",
                        "/v1/viewer-keys",
                        Some(TOKEN),
                        Some(&format!("{{\"{name}\": \"{number}")),
                    ),
                ];
                assert!(answers.iter().all(|(status, _)| (400..500).contains(status)), "{answers:?}");
                shown(answers.map(|(_, text)| text).concat().into_bytes(), "about:blank")
            }
            Surface::Sip => {
                // Everybody's own headers come back to them; what one of them hears of the others must be nothing.
                self.shares.options();
                let mut bytes = std::mem::take(&mut self.shares.heard);
                assert!(String::from_utf8_lossy(&bytes).contains("</conference-info>"), "notified");
                // What a carrier hears of who is in the meeting when it is called: nothing but the number that it is to call.
                let heard = self.ways.carrier.heard.lock().unwrap();
                let heard = String::from_utf8_lossy(&heard).replace(&self.dialled.number[..15], "");
                // Its own Contact comes back to it.
                let heard = heard.replace(&self.dialled.email, "");
                assert!(heard.contains("INVITE sip:+"));
                bytes.extend(heard.into_bytes());
                shown(bytes, "SIP/2.0 200 OK")
            }
            Surface::Media => shown(self.shares.packets(), ""),
            Surface::Webhooks => {
                let all = until("all who came were told of", || {
                    let all = self.hooked.lock().unwrap().clone();
                    String::from_utf8_lossy(&all).contains("Guest 7").then_some(all)
                });
                shown(all, "\"kind\":\"joined\"")
            }
            Surface::Output => {
                let path = self.bridge.folder.0.join("output");
                shown(std::fs::read(path).unwrap(), "ready sip=")
            }
            Surface::Log => {
                self.noise();
                shown(self.bridge.log().into_bytes(), "taking calls")
            }
            Surface::DataFolder => {
                let mut bytes = Vec::new();
                for file in std::fs::read_dir(&self.bridge.folder.0).unwrap() {
                    bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
                }
                shown(bytes, "\"event\":\"disclosed\"")
            }
            Surface::Screen => shown(self.screen(AUDITOR, 7).into_bytes(), "Guest 7"),
            Surface::CoreDump => {
                let limits =
                    std::fs::read_to_string(format!("/proc/{}/limits", self.bridge.process.0.id())).unwrap();
                let line = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
                assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
                shown(line.as_bytes().to_vec(), "core")
            }
        }
    }

    /// What `sotto roster` shows to who has a token, once so many guests are there.
    fn screen(&self, token: &str, guests: usize) -> String {
        let file = self.bridge.folder.file("screen.token", token);
        let path = self.bridge.folder.0.join("screen");
        let server = format!("http://{}", self.bridge.http);
        let child = sotto()
            .args(["roster", CONFERENCE, "--server", &server, "--token-file"])
            .arg(&file)
            .stdout(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        let _roster = Process(child);
        until("the screen shows all", || {
            let text = std::fs::read_to_string(&path).unwrap();
            text.contains(&format!("Guest {guests}")).then_some(text)
        })
    }

    /// Requests that are wrong in every way that is logged or counted.
    fn noise(&self) {
        let Identity { name, number, email, profile, call_id } = &self.stranger;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        let request = |line: &str, more: &str| {
            format!(
                "{line}\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\nFrom: \"{name}\" <sip:{number}@example.com>;tag={call_id}\r\n\
                 To: <sip:{email}@example.com>\r\nCall-ID: {call_id}\r\nContact: <sip:{email}@{local}>\r\nSubject: {profile}\r\n{more}\r\n"
            )
        };
        let target = format!("INVITE sip:{number}@{} SIP/2.0", self.bridge.sip);
        for text in [
            request(&target, "CSeq: 1 INVITE\r\nContent-Length: 0\r\n"),
            request(&target, &format!("CSeq: {name} INVITE\r\n")),
            request(&target, &format!("CSeq: 2 INVITE\r\nRequire: {name}\r\n")),
            request(&format!("{name} sip:{email}@example.com SIP/2.0"), &format!("CSeq: 3 {name}\r\n")),
            request(&format!("SIP/2.0 200 {name}"), "CSeq: 1 INVITE\r\n"),
            format!("{name} {number}\r\n{email}: {profile}\r\n\r\n"),
            request(
                &target,
                &format!(
                    "CSeq: 4 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 40\r\n\r\n{name}"
                ),
            ),
        ] {
            socket.send_to(text.as_bytes(), self.bridge.sip).unwrap();
        }
        // The answer to the last of them says that all were read.
        let options = request(
            &format!("OPTIONS sip:{} SIP/2.0", self.bridge.sip),
            "CSeq: 9 OPTIONS\r\nContent-Length: 0\r\n",
        );
        socket.send_to(options.as_bytes(), self.bridge.sip).unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        until("an answer to OPTIONS", || {
            let mut buffer = [0; 4096];
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..len]).contains("9 OPTIONS").then_some(())
        });
    }
}

#[test]
fn no_surface_shows_an_identity() {
    let mut house = House::open();
    let mut wrong = Vec::new();
    let mut walked = std::collections::BTreeSet::new();
    // The log and the data folder come last as well: they tell of everything before.
    for surface in Surface::ALL.into_iter().chain([Surface::Log, Surface::DataFolder]) {
        let Shown { bytes, holds } = house.walk(surface);
        assert!(
            !bytes.is_empty() && String::from_utf8_lossy(&bytes).contains(holds),
            "{surface:?}: {}",
            String::from_utf8_lossy(&bytes)
        );
        let own = (surface != Surface::Sip).then_some(&house.shares.identity);
        let others =
            house.withhold.iter().map(|c| &c.identity).chain([&house.stranger, &house.dialled]).chain(own);
        let mut hits = std::collections::BTreeSet::new();
        Needles::new(others).find(&bytes, |_, source| {
            hits.insert(format!("{} as {}", source.value, source.form));
        });
        if !hits.is_empty() {
            wrong.push(format!("{surface:?}: {hits:?}"));
        }
        walked.insert(surface);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(walked.len(), Surface::ALL.len(), "no surface stands twice in the list");
    let control = house.screen(TOKEN, 7);
    assert!(
        control.contains(&house.shares.identity.name),
        "the control: a host is shown who shares: {control}"
    );
    assert!(house.withhold.iter().all(|c| !control.contains(&c.identity.name)), "and never who withholds");
}

/// The API's description and the list of surfaces tell of the same routes.
#[test]
fn every_described_path_is_a_surface() {
    let text =
        std::fs::read_to_string(crate::harness::here().join("../bridge/src/api/openapi.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    for path in described["paths"].as_object().unwrap().keys() {
        assert!(Surface::ALL.iter().any(|s| s.path() == Some(path)), "{path}");
    }
    for path in Surface::ALL.iter().filter_map(|s| s.path()).filter(|p| p.starts_with("/v1/")) {
        assert!(described["paths"].get(path).is_some(), "{path} is not described");
    }
}
