//! What callers dial, enter and prove to come into conferences.

use super::{Check, digits};
use crate::config::Config;
use crate::meeting::Lobby;
use crate::pin;
use std::ops::RangeInclusive;

impl Check<'_> {
    /// What callers dial, enter and prove to come into conferences; `numbers` are those of the conferences.
    pub(super) fn entries(&mut self, config: &Config, mut numbers: Vec<String>) {
        for number in &config.ivr.numbers {
            match digits(number.get_ref()) {
                None => {
                    let what =
                        "one of `ivr.numbers` is not usable, expected 3 to 15 digits, with an optional +";
                    self.wrong(number.span(), what);
                }
                Some(digits) if numbers.contains(&digits) => {
                    let what = "this number stands here a second time, expected another number";
                    self.wrong(number.span(), what);
                }
                Some(digits) => numbers.push(digits),
            }
        }
        if let Some(file) = &config.ivr.script
            && let Err(e) = std::fs::read_to_string(file.get_ref())
                .map_err(|e| e.to_string())
                .and_then(|text| crate::prompt::script(&text).map_err(|e| e.to_string()))
        {
            self.wrong(file.span(), format!("`ivr.script`: {}: {e}", file.get_ref().display()));
        }
        let mut entries: Vec<&str> = Vec::new();
        for conference in &config.conference {
            let (pin, host_pin) = (&conference.pin, &conference.host_pin);
            for (name, pin) in [("pin", pin), ("host_pin", host_pin)] {
                if let Some(pin) = pin
                    && !is_digits(pin.get_ref(), pin::SHORTEST..=pin::LONGEST)
                {
                    // Not even a wrong one is told.
                    self.wrong(
                        pin.span(),
                        format!("a conference's `{name}` is not usable, expected 4 to 12 digits"),
                    );
                }
            }
            if let (Some(pin), Some(host)) = (pin, host_pin)
                && pin.get_ref() == host.get_ref()
            {
                let what = "a conference's `pin` and `host_pin` are the same, expected two";
                self.wrong(host.span(), what);
            }
            if let (None, Some(host)) = (pin, host_pin) {
                // Nobody would be asked for it.
                self.wrong(host.span(), "a conference's `host_pin` stands without a `pin`, expected both");
            }
            if let (None, Some(lobby)) = (host_pin, &conference.lobby)
                && *lobby.get_ref() == Lobby::UntilHost
            {
                let what = "a conference's `lobby` is `until-host`, but it has no `host_pin` by which hosts come, expected one";
                self.wrong(lobby.span(), what);
            }
            let Some(entry) = &conference.entry else { continue };
            if !is_digits(entry.get_ref(), 3..=12) {
                self.wrong(entry.span(), "a conference's `entry` is not usable, expected 3 to 12 digits");
            }
            if entries.contains(&entry.get_ref().as_str()) {
                self.wrong(entry.span(), "this `entry` has a conference already, expected another");
            }
            entries.push(entry.get_ref());
        }
    }
}

fn is_digits(text: &str, length: RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::tests::SIP;

    #[test]
    fn entries_and_pins_that_nobody_could_use() {
        let conference = |n: usize, more: &str| {
            format!("[[conference]]\nid = \"c{n}\"\nnumber = \"+1202555017{n}\"\n{more}\n")
        };
        let with = |ivr: &str, one: &str, two: &str| {
            parse("f.toml", &format!("{SIP}[ivr]\n{ivr}\n{}{}", conference(1, one), conference(2, two)))
        };
        let right =
            with("numbers = [\"+12025550170\"]", "entry = \"123\"\npin = \"1234\"\nhost_pin = \"4321\"", "");
        assert!(right.is_ok(), "{right:?}");
        for (ivr, one, two, expected) in [
            (
                "",
                "host_pin = \"1234\"",
                "",
                "f.toml:8: a conference's `host_pin` stands without a `pin`, expected both",
            ),
            (
                "",
                "pin = \"1234\"\nlobby = \"until-host\"",
                "",
                "f.toml:9: a conference's `lobby` is `until-host`, but it has no `host_pin` by which hosts come, expected one",
            ),
            (
                "numbers = [\"12\"]",
                "",
                "",
                "f.toml:4: one of `ivr.numbers` is not usable, expected 3 to 15 digits, with an optional +",
            ),
            (
                "numbers = [\"12025550171\"]",
                "",
                "",
                "f.toml:4: this number stands here a second time, expected another number",
            ),
            (
                "",
                "entry = \"12\"",
                "",
                "f.toml:8: a conference's `entry` is not usable, expected 3 to 12 digits",
            ),
            (
                "",
                "entry = \"123\"",
                "entry = \"123\"",
                "f.toml:12: this `entry` has a conference already, expected another",
            ),
            (
                "",
                "pin = \"123\"",
                "",
                "f.toml:8: a conference's `pin` is not usable, expected 4 to 12 digits",
            ),
            (
                "",
                "pin = \"1234\"\nhost_pin = \"12345x\"",
                "",
                "f.toml:9: a conference's `host_pin` is not usable, expected 4 to 12 digits",
            ),
            (
                "",
                "pin = \"1234\"\nhost_pin = \"1234\"",
                "",
                "f.toml:9: a conference's `pin` and `host_pin` are the same, expected two",
            ),
            (
                "script = \"/nowhere\"",
                "",
                "",
                "f.toml:4: `ivr.script`: /nowhere: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(with(ivr, one, two).unwrap_err().to_string(), expected);
        }
    }
}
