//! What a `[[trunk]]` and `[dial]` are checked for.

use super::Check;
use crate::config::{Dial, Trunk};
use crate::place::Place;

impl Check<'_> {
    pub(super) fn dial(&mut self, dial: &Dial, trunks: &[Trunk]) {
        for (name, list) in [("allowed", &dial.allowed), ("denied", &dial.denied)] {
            for prefix in list {
                if !is_e164(prefix.get_ref(), 2) {
                    let what =
                        format!("`dial.{name}` has what is no beginning of a number, expected as \"+44\"");
                    self.wrong(prefix.span(), what);
                }
            }
        }
        for name in &dial.trunks {
            let found = trunks.iter().find(|t| t.name.get_ref() == name.get_ref());
            if found.is_none_or(|t| t.to.is_empty()) {
                let what = format!("`dial.trunks` has `{}`, expected a trunk with a `to`", name.get_ref());
                self.wrong(name.span(), what);
            }
        }
        for (name, value, allowed) in [
            ("dial.per_conference", &dial.per_conference, 0..=10_000),
            ("dial.per_day", &dial.per_day, 0..=1_000_000),
            ("dial.ring", &dial.ring, 5..=180),
            ("dial.silence", &dial.silence, 1..=30),
            ("dial.redirects", &dial.redirects, 0..=5),
        ] {
            self.range(name, value, allowed);
        }
    }

    pub(super) fn trunk(&mut self, trunk: &Trunk) {
        for (name, login) in [("auth", &trunk.auth), ("login", &trunk.login)] {
            let Some(login) = login else { continue };
            let user = login.user.get_ref();
            if user.is_empty()
                || user.len() > 128
                || user.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'))
            {
                let what =
                    format!("`{name}.user` is not usable, expected 1 to 128 characters without quotes");
                self.wrong(login.user.span(), what);
            }
            match std::fs::metadata(login.password_file.get_ref()) {
                Ok(file) if file.len() > 4096 => {
                    let what = format!("`{name}.password_file` is larger than 4096 bytes");
                    self.wrong(login.password_file.span(), what);
                }
                Ok(_) => {}
                Err(e) => {
                    self.wrong(
                        login.password_file.span(),
                        format!("`{name}.password_file` cannot be read: {e}"),
                    );
                }
            }
        }
        for to in &trunk.to {
            match to.get_ref().parse::<Place>() {
                Err(e) => self.wrong(to.span(), e),
                Ok(_) if trunk.caller.is_none() => {
                    let what = format!(
                        "trunk `{}` is called but has no `caller`, expected a number of ours as +12025550100",
                        trunk.name.get_ref()
                    );
                    self.wrong(to.span(), what);
                }
                Ok(_) => {}
            }
        }
        if let Some(caller) = &trunk.caller
            && !is_e164(caller.get_ref(), 8)
        {
            self.wrong(caller.span(), "`caller` is no number, expected + and 7 to 15 digits");
        }
        if *trunk.keep_alive.get_ref() != 0 {
            self.range("keep_alive", &trunk.keep_alive, 5..=3600);
        }
        let limits = &trunk.limits;
        let bounds = [
            ("limits.calls", &limits.calls, 1..=100_000),
            ("limits.calls_per_second", &limits.calls_per_second, 1..=100_000),
            ("limits.burst", &limits.burst, 1..=100_000),
            ("numbers.last_digits", &trunk.numbers.last_digits, 2..=15),
        ];
        for (name, value, allowed) in bounds {
            if let Some(value) = value {
                self.range(name, value, allowed);
            }
        }
        for (name, value) in trunk.numbers.digits() {
            let Some(value) = value else { continue };
            let text = value.get_ref();
            if !(1..=4).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
                self.wrong(value.span(), format!("`numbers.{name}` is not usable, expected 1 to 4 digits"));
            }
        }
        for (name, host) in [("contact_host", &trunk.contact_host), ("tls_name", &trunk.tls_name)] {
            let Some(host) = host else { continue };
            let text = host.get_ref();
            let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if text.len() > 253 || !text.contains('.') || !text.split('.').all(label) {
                self.wrong(host.span(), format!("`{name}` is no host name, expected as sbc.example.com"));
            }
        }
    }
}

/// `+` and digits, so many characters at least.
fn is_e164(text: &str, least: usize) -> bool {
    let digits = text.strip_prefix('+').is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()));
    digits && (least..=16).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::tests::{SIP, faults};

    #[test]
    fn what_is_called_and_dialled_is_checked() {
        let with = |trunk: &str, more: &str| {
            faults(&format!("{SIP}[[trunk]]\nname = \"a\"\n{trunk}\n{more}\n")).join(" | ")
        };
        let to = "to = [\"sbc.example.com\"]\ncaller = \"+12025550100\"";
        let good =
            format!("{SIP}[[trunk]]\nname = \"a\"\n{to}\n[dial]\nallowed = [\"+44\"]\ntrunks = [\"a\"]\n");
        assert!(parse("f.toml", &good).is_ok(), "{:?}", parse("f.toml", &good));
        for (trunk, more, expected) in [
            ("to = [\"sip:x\"]\ncaller = \"+12025550100\"", "", "f.toml:5: `sip:x` is no address"),
            ("to = [\"sbc.example.com\"]", "", "f.toml:5: trunk `a` is called but has no `caller`"),
            ("to = [\"sbc.example.com\"]\ncaller = \"12025550100\"", "", "f.toml:6: `caller` is no number"),
            (&format!("{to}\nkeep_alive = 2")[..], "", "f.toml:7: `keep_alive` is 2, expected 5 to 3600"),
            ("", "", "f.toml:4: trunk `a` has no networks in `from`, expected at least one, or a `to`"),
            (
                to,
                "[dial]\nallowed = [\"44\"]",
                "f.toml:8: `dial.allowed` has what is no beginning of a number",
            ),
            (to, "[dial]\ntrunks = [\"b\"]", "f.toml:8: `dial.trunks` has `b`, expected a trunk with a `to`"),
            (to, "[dial]\nring = 1", "f.toml:8: `dial.ring` is 1, expected 5 to 180"),
            (to, "[dial]\nrules = 1", "f.toml:8: unknown field `rules`"),
            (
                to,
                "[stir]\ncertificates = [{ url = \"https://x\", file = \"/nonexistent.pem\" }]",
                "f.toml:8: `stir`: /nonexistent.pem cannot be read",
            ),
        ] {
            let told = with(trunk, more);
            assert!(told.contains(expected), "{expected}: {told}");
        }
    }

    #[test]
    fn what_a_trunk_says_of_itself_is_checked() {
        let with = |lines: &str| {
            let trunk = "[[trunk]]\nname = \"a\"\nfrom = [\"192.0.2.0/24\"]";
            parse("f.toml", &format!("{SIP}{trunk}\n{lines}\n"))
        };
        for (lines, expected) in [
            ("contact_host = \"sbc\"", "f.toml:6: `contact_host` is no host name"),
            ("contact_host = \"a..example.com\"", "`contact_host` is no host name"),
            ("numbers = { country = \"+44\" }", "`numbers.country` is not usable, expected 1 to 4 digits"),
            ("numbers = { last_digits = 1 }", "`numbers.last_digits` is 1, expected 2 to 15"),
            ("limits = { calls = 0 }", "`limits.calls` is 0, expected 1 to 100000"),
            ("limits = { call = 1 }", "unknown field `call`"),
            (
                "auth = { user = \"a\", password_file = \"/nowhere/x\" }",
                "`auth.password_file` cannot be read",
            ),
            ("auth = { user = \"a\\\"b\", password_file = \"/dev/null\" }", "`auth.user` is not usable"),
            ("auth_algorithms = [\"SHA-1\"]", "unknown variant `SHA-1`"),
        ] {
            let said = with(lines).unwrap_err().to_string();
            assert!(said.contains(expected), "{lines}: {said}");
        }
        let config = with("limits = { calls_per_second = 20 }\nnumbers = { trunk_prefix = \"0\" }").unwrap();
        assert_eq!(config.trunk[0].limits.of_trunk().burst, 20, "a second's worth");
        for (seconds, right) in [(0, true), (89, false), (90, true), (86_401, false)] {
            let text = format!("{SIP}session_expires = {seconds}\n");
            assert_eq!(parse("f.toml", &text).is_ok(), right, "{seconds}");
        }
    }
}
