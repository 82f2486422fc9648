//! Reading the file and checking what its types cannot say. Every fault is found in one go.

mod entries;
mod trunk;

use super::{Config, Media, encoding};
use sip_stack::transport::Protocol;
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

/// Faults that are reported at most.
const MOST: usize = 50;

/// What is wrong with a file: one line each, `FILE:LINE: what, and what was expected`.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults {
    file: String,
    faults: Vec<(usize, String)>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (line, what)) in self.faults.iter().enumerate() {
            let end = if i + 1 < self.faults.len() { "\n" } else { "" };
            write!(f, "{}:{line}: {what}{end}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Reads and checks a file.
///
/// # Errors
/// [`Faults`]; line 0 when the file itself cannot be read.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(e) => Err(Faults { file, faults: vec![(0, format!("cannot be read: {e}"))] }),
    }
}

/// Checks a text that stands for `file`.
///
/// # Errors
/// [`Faults`].
pub fn parse(file: &str, text: &str) -> Result<Config, Faults> {
    let mut faults = Vec::new();
    let mut rest = text.to_owned();
    let mut blanked = Vec::new();
    let config = loop {
        match toml::from_str::<Config>(&rest) {
            Ok(config) => break Some(config),
            Err(e) => {
                let span = e.span().unwrap_or(0..0);
                let what = one_line(e.message());
                // A field is not missing because it was wrong.
                if !blanked.iter().any(|key| what == format!("missing field `{key}`")) {
                    faults.push((line_of(text, span.start), what));
                }
                // What was wrong is blanked out, so that the next fault is found too.
                if faults.len() == MOST || !blank(&mut rest, span, &mut blanked) {
                    break None;
                }
            }
        }
    };
    if let Some(config) = &config {
        let mut check = Check { text, faults: &mut faults };
        check.all(config);
    }
    faults.sort();
    faults.dedup();
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Faults { file: file.to_owned(), faults }),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Turns the lines of a span into empty ones. False when that would change nothing or take a table's header.
fn blank(text: &mut String, span: Range<usize>, keys: &mut Vec<String>) -> bool {
    let start = text[..span.start.min(text.len())].rfind('\n').map_or(0, |n| n + 1);
    let from = span.end.clamp(start, text.len());
    let end = text[from..].find('\n').map_or(text.len(), |n| from + n);
    let lines = &text[start..end];
    if lines.trim().is_empty() || lines.trim_start().starts_with('[') {
        return false;
    }
    keys.extend(lines.split_once('=').map(|(key, _)| key.trim().to_owned()));
    let spaces: String =
        lines.chars().map(|c| if c == '\n' { "\n".into() } else { " ".repeat(c.len_utf8()) }).collect();
    text.replace_range(start..end, &spaces);
    true
}

struct Check<'a> {
    text: &'a str,
    faults: &'a mut Vec<(usize, String)>,
}

impl Check<'_> {
    fn wrong(&mut self, span: Range<usize>, what: impl Into<String>) {
        self.faults.push((line_of(self.text, span.start), what.into()));
    }

    fn range(&mut self, name: &str, value: &toml::Spanned<usize>, allowed: RangeInclusive<usize>) {
        if !allowed.contains(value.get_ref()) {
            let (from, to) = (allowed.start(), allowed.end());
            self.wrong(value.span(), format!("`{name}` is {}, expected {from} to {to}", value.get_ref()));
        }
    }

    fn all(&mut self, config: &Config) {
        if config.sip.listen.get_ref().is_empty() {
            self.wrong(config.sip.listen.span(), "`sip.listen` is empty, expected at least one listener");
        }
        for listen in config.sip.listen.get_ref() {
            match listener(listen.get_ref()) {
                Err(e) => self.wrong(listen.span(), e),
                Ok((protocol, _)) if protocol.is_secure() && config.sip.tls.is_none() => {
                    let what =
                        format!("`{}` needs `sip.tls`, expected tls = {{ cert, key }}", listen.get_ref());
                    self.wrong(listen.span(), what);
                }
                Ok(_) => {}
            }
        }
        if let Some(tls) = &config.sip.tls {
            let super::Tls { cert, key, client_ca, trusted } = tls.get_ref();
            let all = [Some(cert), Some(key), client_ca.as_ref(), trusted.as_ref()];
            for file in all.into_iter().flatten() {
                if let Err(e) = std::fs::metadata(file) {
                    self.wrong(tls.span(), format!("`sip.tls`: {} cannot be read: {e}", file.display()));
                }
            }
        }
        self.range("sip.max_calls", &config.sip.max_calls, 1..=100_000);
        if *config.sip.session_expires.get_ref() != 0 {
            self.range("sip.session_expires", &config.sip.session_expires, 90..=86_400);
        }
        self.range("sip.dscp", &config.sip.dscp, 0..=63);
        self.range("media.dscp", &config.media.dscp, 0..=63);
        self.range("media.shards", &config.media.shards, 0..=64);
        self.range("media.spread_above", &config.media.spread_above, 0..=10_000);
        self.sound(&config.media);
        self.range("conferences.capacity", &config.conferences.capacity, 1..=10_000);
        if let Err(e) = ports(config.media.ports.get_ref()) {
            self.wrong(config.media.ports.span(), e);
        }
        if let Some(prefix) = &config.conferences.adhoc_prefix
            && !is_id(prefix.get_ref(), 32)
        {
            let what = "`conferences.adhoc_prefix` is not usable, expected 1 to 32 letters, digits or -._~";
            self.wrong(prefix.span(), what);
        }
        if let Some(url) = &config.ledger.url
            && url.get_ref().strip_prefix("sqlite:").is_none_or(str::is_empty)
        {
            self.wrong(url.span(), "`ledger.url` is not usable, expected sqlite:FILE");
        }
        for webhook in &config.webhook {
            if let Err(e) = webhook.check_url() {
                self.wrong(webhook.url.span(), e.to_string());
            }
            if let Err(e) = webhook.secret() {
                self.wrong(webhook.secret_file.span(), e.to_string());
            }
        }
        if let Some(oidc) = &config.oidc {
            oidc.faults().into_iter().for_each(|(span, what)| self.wrong(span, what));
            if config.http.public_url.is_none() {
                let what =
                    "people who sign in there come back to the portal, expected `http.public_url` for that";
                self.wrong(oidc.issuer.span(), what);
            }
        }
        self.codes(&config.conferences.codes);
        self.disclosure(&config.disclosure);
        if let Some(url) = &config.http.public_url
            && !is_base_url(url.get_ref())
        {
            let what = "`http.public_url` is not usable, expected https://HOST or http://HOST, with an optional port and path";
            self.wrong(url.span(), what);
        }
        let mut names: Vec<&str> = Vec::new();
        for trunk in &config.trunk {
            let name = trunk.name.get_ref();
            if !is_id(name, 64) {
                let what = "a trunk's `name` is not usable, expected 1 to 64 letters, digits or -._~";
                self.wrong(trunk.name.span(), what);
            }
            if names.contains(&name.as_str()) {
                self.wrong(
                    trunk.name.span(),
                    format!("trunk `{name}` stands here a second time, expected another name"),
                );
            }
            names.push(name);
            self.trunk(trunk);
            if trunk.from.get_ref().is_empty() && trunk.to.is_empty() {
                let span = if trunk.from.span().is_empty() { trunk.name.span() } else { trunk.from.span() };
                self.wrong(
                    span,
                    format!("trunk `{name}` has no networks in `from`, expected at least one, or a `to`"),
                );
            }
        }
        self.dial(&config.dial, &config.trunk);
        if let Err((span, what)) = config.stir.load() {
            self.wrong(span, what);
        }
        let mut seen: Vec<(&str, String)> = Vec::new();
        for conference in &config.conference {
            let (id, number) = (conference.id.get_ref(), conference.number.get_ref());
            if !is_id(id, 64) {
                let what = "a conference's `id` is not usable, expected 1 to 64 letters, digits or -._~";
                self.wrong(conference.id.span(), what);
            }
            let digits = digits(number);
            if digits.is_none() {
                let what =
                    "a conference's `number` is not usable, expected 3 to 15 digits, with an optional +";
                self.wrong(conference.number.span(), what);
            }
            if seen.iter().any(|(i, _)| i == id) {
                self.wrong(
                    conference.id.span(),
                    format!("conference `{id}` stands here a second time, expected another id"),
                );
            }
            let digits = digits.unwrap_or_default();
            if !digits.is_empty() && seen.iter().any(|(_, d)| *d == digits) {
                self.wrong(
                    conference.number.span(),
                    "this number has a conference already, expected another number",
                );
            }
            seen.push((id, digits));
            for (place, label) in conference.fields.iter().enumerate() {
                let text = label.get_ref();
                let usable = (1..=60).contains(&text.chars().count()) && !text.chars().any(char::is_control);
                if place >= 10 || !usable || text.trim().is_empty() {
                    let what = "one of `fields` is not usable, expected up to 10, each 1 to 60 characters in one line";
                    self.wrong(label.span(), what);
                }
            }
            if let Some(capacity) = &conference.capacity {
                self.range("capacity", capacity, 1..=10_000);
            }
        }
        self.entries(config, seen.into_iter().map(|(_, number)| number).collect());
        if config.http.public_url.is_none()
            && let Some(trunk) = config.trunk.iter().find(|t| t.personal_link)
        {
            let what = format!(
                "trunk `{}` gives personal links, expected `http.public_url` for them",
                trunk.name.get_ref()
            );
            self.wrong(trunk.name.span(), what);
        }
        if let Some(file) = &config.http.token_file
            && let Err(e) = std::fs::metadata(file.get_ref())
        {
            self.wrong(file.span(), format!("`http.token_file` cannot be read: {e}"));
        }
    }
}

impl Check<'_> {
    /// Codecs, each known and named once, and what is said of them.
    fn sound(&mut self, media: &Media) {
        self.range("media.opus_bitrate", &media.opus_bitrate, 6_000..=128_000);
        if media.codecs.get_ref().is_empty() {
            self.wrong(media.codecs.span(), "`media.codecs` is empty, expected at least one");
        }
        let codecs = media.codecs.get_ref();
        for (at, codec) in codecs.iter().enumerate() {
            let name = codec.get_ref();
            if encoding(name).is_none() {
                let what = format!("`{name}` is no codec of ours, expected opus, g722, pcmu, pcma or l16");
                self.wrong(codec.span(), what);
            } else if codecs[..at].iter().any(|c| c.get_ref().eq_ignore_ascii_case(name)) {
                self.wrong(codec.span(), format!("`{name}` is named twice, expected each codec once"));
            }
        }
        let rate = media.opus_rate.get_ref();
        if ![8_000, 16_000, 48_000].contains(rate) {
            let what = format!("`media.opus_rate` is {rate}, expected 8000, 16000 or 48000");
            self.wrong(media.opus_rate.span(), what);
        }
        if *media.timeout.get_ref() != 0 {
            self.range("media.timeout", &media.timeout, 10..=86_400);
        }
        if *media.comfort_level.get_ref() != 0 {
            self.range("media.comfort_level", &media.comfort_level, 30..=90);
        }
        if let Some(file) = &media.music
            && let Err(e) = super::music(file.get_ref())
        {
            let what = format!("`media.music`: {} cannot be played: {e}", file.get_ref().display());
            self.wrong(file.span(), what);
        }
    }

    fn codes(&mut self, codes: &super::Codes) {
        let all: Vec<_> = codes.all().into_iter().filter(|(_, code)| !code.get_ref().is_empty()).collect();
        for (place, (name, code)) in all.iter().enumerate() {
            let text = code.get_ref();
            if !is_code(text) {
                let what = format!(
                    "`conferences.codes.{name}` is not usable, expected * or # and 1 to 7 of 0-9*#, or \"\""
                );
                self.wrong(code.span(), what);
            }
            // The shorter would always come first.
            for (other, code) in &all[..place] {
                if text.starts_with(code.get_ref()) || code.get_ref().starts_with(text) {
                    let what = format!(
                        "one of `conferences.codes.{other}` and `{name}` begins with the other, expected different codes"
                    );
                    // A default stands nowhere.
                    let at = if code.span().start > all[place].1.span().start { code } else { all[place].1 };
                    self.wrong(at.span(), what);
                }
            }
        }
    }

    fn disclosure(&mut self, disclosure: &super::Disclosure) {
        if let (Some(file), Err(e)) = (&disclosure.compliance_key, disclosure.recipient()) {
            self.wrong(file.span(), format!("`disclosure.compliance_key`: {e}"));
        }
        for (role, by) in disclosure.roles() {
            let may = role.sight();
            for (attribute, wished, may) in [
                ("name", &by.name, may.name),
                ("number", &by.number, may.number),
                ("profile", &by.profile, may.profile),
            ] {
                let Some(wished) = wished.as_ref().filter(|w| *w.get_ref() < may) else { continue };
                let what = format!(
                    "`disclosure.{}.{attribute}` is looser than a site may make it, expected {} or tighter",
                    role.as_str(),
                    may.as_str()
                );
                self.wrong(wished.span(), what);
            }
        }
    }
}

/// An address that a path can be put behind.
fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let in_it = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]".contains(&b);
        !rest.starts_with('/') && (1..=200).contains(&rest.len()) && rest.bytes().all(in_it)
    })
}

/// `udp://address:port`, or `tcp`, `tls`, `ws`, `wss`.
///
/// # Errors
/// What was expected.
pub(crate) fn listener(text: &str) -> Result<(Protocol, SocketAddr), String> {
    let (protocol, address) = match text.split_once("://") {
        Some(("udp", address)) => (Protocol::Udp, address),
        Some(("tcp", address)) => (Protocol::Tcp, address),
        Some(("tls", address)) => (Protocol::Tls, address),
        Some(("ws", address)) => (Protocol::Ws, address),
        Some(("wss", address)) => (Protocol::Wss, address),
        _ => {
            return Err(format!(
                "`{text}` is no listener, expected udp://, tcp://, tls://, ws:// or wss://ADDRESS:PORT"
            ));
        }
    };
    let address = address.parse().map_err(|_| {
        format!("`{address}` is no address, expected as 192.0.2.1:5060 or [2001:db8::1]:5060")
    })?;
    Ok((protocol, address))
}

/// `first-last`.
///
/// # Errors
/// What was expected.
pub(crate) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(a, b)| Some(a.trim().parse().ok()?..=b.trim().parse().ok()?));
    let range = range.ok_or_else(|| format!("`{text}` is no port range, expected as \"20000-39999\""))?;
    let first = u32::from(*range.start()).next_multiple_of(2);
    if *range.start() < 1024 || first + 1 > u32::from(*range.end()) {
        return Err(format!(
            "port range `{text}` is empty, expected an even port from 1024 on with an odd one after it"
        ));
    }
    Ok(range)
}

fn is_id(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn is_code(text: &str) -> bool {
    (2..=8).contains(&text.len())
        && text.starts_with(['*', '#'])
        && text.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b))
}

/// The digits of a number.
pub(crate) fn digits(number: &str) -> Option<String> {
    let digits = number.strip_prefix('+').unwrap_or(number);
    let right = (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    right.then(|| digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::Recorder;
    use media::Rate;

    pub(super) fn faults(text: &str) -> Vec<String> {
        parse("f.toml", text).unwrap_err().to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = parse("f.toml", "[sip]\nlisten = [\"udp://127.0.0.1:5060\"]\n").unwrap();
        assert_eq!(*config.conferences.capacity.get_ref(), 500);
        assert!(config.conferences.adhoc_prefix.is_none());
    }

    #[test]
    fn every_fault_is_found_with_its_line() {
        let text = "[sip]\nlisten = [\"udp://127.0.0.1:5060\",\n  \"sctp://x\", \"tcp://nowhere\"]\nmax_calls = 0\n\
            [media]\nports = \"30001-30001\"\nshard = 2\n[http]\nlisten = 8080\n\
            [[trunk]]\nname = \"a b\"\nfrom = []\n[[conference]]\nid = \"x\"\nnumber = \"12a\"\n";
        assert_eq!(
            faults(text),
            [
                "f.toml:3: `nowhere` is no address, expected as 192.0.2.1:5060 or [2001:db8::1]:5060",
                "f.toml:3: `sctp://x` is no listener, expected udp://, tcp://, tls://, ws:// or wss://ADDRESS:PORT",
                "f.toml:4: `sip.max_calls` is 0, expected 1 to 100000",
                "f.toml:6: port range `30001-30001` is empty, expected an even port from 1024 on with an odd one after it",
                "f.toml:7: unknown field `shard`, expected one of `address`, `address_v6`, `external_address`, `dscp`, `ports`, `shards`, `spread_above`, `codecs`, `opus_bitrate`, `opus_rate`, `comfort_noise`, `comfort_level`, `music`, `agc`, `noise_suppression`, `timeout`, `srtp`",
                "f.toml:9: invalid type: integer `8080`, expected socket address",
                "f.toml:11: a trunk's `name` is not usable, expected 1 to 64 letters, digits or -._~",
                "f.toml:12: trunk `a b` has no networks in `from`, expected at least one, or a `to`",
                "f.toml:15: a conference's `number` is not usable, expected 3 to 15 digits, with an optional +",
            ]
        );
    }

    #[test]
    fn syntax_and_missing_parts() {
        assert!(faults("[sip\n")[0].starts_with("f.toml:1: "));
        assert_eq!(faults("[node]\nname = \"x\"\n")[0], "f.toml:1: missing field `sip`");
        assert!(faults("[sip]\nlisten = []\n")[0].contains("expected at least one"));
    }

    pub(super) const SIP: &str = "[sip]\nlisten = [\"udp://127.0.0.1:5060\"]\n";

    #[test]
    fn what_calls_cannot_sound_like() {
        let with = |line: &str| parse("f.toml", &format!("{SIP}[media]\n{line}\n"));
        for (line, expected) in [
            ("codecs = []", "f.toml:4: `media.codecs` is empty, expected at least one"),
            (
                "codecs = [\"opus\",\n  \"silk\"]",
                "f.toml:5: `silk` is no codec of ours, expected opus, g722, pcmu, pcma or l16",
            ),
            ("codecs = [\"pcmu\", \"PCMU\"]", "f.toml:4: `PCMU` is named twice, expected each codec once"),
            ("opus_bitrate = 5999", "f.toml:4: `media.opus_bitrate` is 5999, expected 6000 to 128000"),
            ("opus_bitrate = 128001", "f.toml:4: `media.opus_bitrate` is 128001, expected 6000 to 128000"),
            ("opus_rate = 44100", "f.toml:4: `media.opus_rate` is 44100, expected 8000, 16000 or 48000"),
            ("comfort_level = 29", "f.toml:4: `media.comfort_level` is 29, expected 30 to 90"),
            ("timeout = 9", "f.toml:4: `media.timeout` is 9, expected 10 to 86400"),
            ("comfort_level = 91", "f.toml:4: `media.comfort_level` is 91, expected 30 to 90"),
            (
                "srtp = \"maybe\"",
                "f.toml:4: unknown variant `maybe`, expected one of `off`, `optional`, `required`",
            ),
        ] {
            assert_eq!(with(line).unwrap_err().to_string().trim_end(), expected, "{line}");
        }
        let dir = std::env::temp_dir().join(format!("sotto-config-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).unwrap();
        let file = |name: &str, seconds: usize| {
            let path = dir.join(name);
            let mut recorder = Recorder::create(&path, Rate::Wide).unwrap();
            recorder.write(&vec![0; seconds * 16_000]).unwrap();
            recorder.finish().unwrap();
            path
        };
        let (short, long) = (file("short.wav", 0), file("long.wav", 601));
        for (path, why) in [
            (&short, "its length is not 1 to 600 s"),
            (&long, "its length is not 1 to 600 s"),
            (&dir.join("none.wav"), "No such file or directory (os error 2)"),
        ] {
            let told = with(&format!("music = {path:?}")).unwrap_err().to_string();
            let expected = format!("f.toml:4: `media.music`: {} cannot be played: {why}", path.display());
            assert_eq!(told.trim_end(), expected);
        }
        let music = format!("music = {:?}", file("right.wav", 2));
        for right in [
            music.as_str(),
            "codecs = [\"l16\", \"pcma\"]",
            "comfort_level = 0",
            "timeout = 0",
            "opus_rate = 16000",
            "srtp = \"required\"",
        ] {
            assert!(with(right).is_ok(), "{right}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn codes_that_cannot_be_told_apart_or_dialled() {
        let with = |codes: &str| faults(&format!("{SIP}[conferences.codes]\n{codes}\n"));
        assert!(with("withhold = \"67\"")[0].contains("f.toml:4: `conferences.codes.withhold`"));
        assert!(with("share = \"*8A\"")[0].contains("codes.share"));
        assert!(with("withhold = \"*8\"")[0].contains("begins with the other"));
        assert!(
            with("withhold_name = \"*82\"")[0].starts_with("f.toml:4: one of `conferences.codes.share` and")
        );
        assert!(with("hide = \"*82\"")[0].contains("unknown field"));
        let off = parse("f.toml", &format!("{SIP}[conferences.codes]\nlink = \"\"\nshare_number = \"\"\n"));
        assert!(off.is_ok(), "an empty one is off: {off:?}");
    }

    #[test]
    fn a_site_may_tighten_who_sees_what_and_not_loosen_it() {
        let with = |text: &str| parse("f.toml", &format!("{SIP}[disclosure]\n{text}\n"));
        let config = with("host = { name = \"masked\" }\noperator = { number = \"pseudonym\" }").unwrap();
        let policy = config.disclosure.policy();
        assert_eq!(policy.sight(crate::disclosure::Role::Host).name, crate::disclosure::Extent::Masked);
        for (text, expected) in [
            (
                "operator = { number = \"shown\" }",
                "f.toml:4: `disclosure.operator.number` is looser than a site may make it, expected masked or tighter",
            ),
            ("guest = { name = \"masked\" }", "expected pseudonym or tighter"),
            ("host = { name = \"all\" }", "unknown variant `all`"),
            ("king = { name = \"shown\" }", "unknown field `king`"),
        ] {
            let said = with(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn personal_links_need_an_address() {
        let trunk = "[[trunk]]\nname = \"phones\"\nfrom = [\"192.0.2.0/24\"]\npersonal_link = true\n";
        assert!(faults(&format!("{SIP}{trunk}"))[0].contains("expected `http.public_url`"));
        let with = |url: &str| parse("f.toml", &format!("{SIP}[http]\npublic_url = \"{url}\"\n{trunk}"));
        assert!(with("https://meet.example.com/a").is_ok() && with("http://[::1]:8080").is_ok());
        for wrong in ["meet.example.com", "https://", "https:///x", "https://a>b", "ftp://a"] {
            assert!(with(wrong).unwrap_err().to_string().contains("`http.public_url`"), "{wrong}");
        }
    }

    #[test]
    fn the_same_name_or_number_twice() {
        let text = "[sip]\nlisten = [\"udp://127.0.0.1:5060\"]\n\
            [[trunk]]\nname = \"a\"\nfrom = [\"192.0.2.0/24\"]\n[[trunk]]\nname = \"a\"\nfrom = [\"192.0.2.0/24\"]\n\
            [[conference]]\nid = \"x\"\nnumber = \"+12025550199\"\n[[conference]]\nid = \"x\"\nnumber = \"12025550199\"\n";
        let faults = faults(text);
        assert_eq!(faults.len(), 3, "{faults:#?}");
    }
}
